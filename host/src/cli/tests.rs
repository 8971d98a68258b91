//! Tests of the command line's shape.

use super::*;
use clap::CommandFactory;

fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from([&["lockport"], arguments].concat())
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_lists_every_command_and_every_exit_code() {
    let help = Cli::command().render_long_help().to_string();
    for word in [
        "serve",
        "check",
        "pack",
        "--format",
        "--color",
        "--verbose",
        "--quiet",
    ] {
        assert!(help.contains(word), "{word} is not in the help:\n{help}");
    }
    assert!(help.contains(exit::HELP), "{help}");
}

#[test]
fn flags_of_every_command_may_come_behind_it() {
    let cli = parse(&[
        "serve", "a", "b.wasm", "--format", "json", "-vv", "--http", "[::1]:0",
    ]);
    let cli = cli.unwrap();
    assert_eq!(cli.global.format, Format::Json);
    assert_eq!(cli.global.verbose, 2);
    let Command::Serve(node) = cli.command else {
        panic!("another command");
    };
    assert_eq!(
        node.components,
        [PathBuf::from("a"), PathBuf::from("b.wasm")]
    );
    assert_eq!(node.http.as_deref(), Some("[::1]:0"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for arguments in [
        &["srve"][..],
        &[],
        &["serve", "--sotre", "memory:"],
        &["serve", "-q", "-v"],
        &["pack"],
        &["serve", "--format", "xml"],
    ] {
        let error = parse(arguments).unwrap_err();
        assert!(error.use_stderr(), "{arguments:?}");
        assert_eq!(
            error.exit_code(),
            i32::from(Exit::Usage.code()),
            "{arguments:?}"
        );
    }
    assert!(!parse(&["--version"]).unwrap_err().use_stderr());
}
