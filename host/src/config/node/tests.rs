//! Tests of the node's configuration.

use super::*;
use crate::config::environment;
use crate::config::sources::{DEFAULT_FILE, Flag, Sources};
use lockport_store::redis::Url;

/// The configuration that `text`, variables and flags make.
fn load(text: &str, variables: &[(&str, &str)], flags: &[Flag]) -> Result<NodeConfig, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(DEFAULT_FILE);
    std::fs::write(&file, text).unwrap();
    let owned = |it: &(&str, &str)| (it.0.to_owned(), it.1.to_owned());
    NodeConfig::load(&Sources {
        file: None,
        directory: directory.path().to_owned(),
        variables: variables.iter().map(owned).collect(),
        flags: flags.to_vec(),
    })
}

fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    let error = load(text, variables, &[]).unwrap_err();
    let hint = error.hint().map(|it| format!(" ({it})"));
    let text = error.to_string() + &hint.unwrap_or_default();
    // The directory is another one each time.
    match text.split_once(DEFAULT_FILE) {
        Some((_, rest)) => format!("{DEFAULT_FILE}{rest}"),
        None => text,
    }
}

#[test]
fn without_a_file_everything_has_a_default() {
    let empty = tempfile::tempdir().unwrap();
    let config = NodeConfig::load(&Sources {
        directory: empty.path().to_owned(),
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(config.listen.http.to_string(), "127.0.0.1:3000");
    let address = |it: Option<std::net::SocketAddr>| it.unwrap().to_string();
    assert_eq!(address(config.listen.lock), "127.0.0.1:50051");
    assert_eq!(address(config.listen.admin), "127.0.0.1:9000");
    assert!(config.tokens.is_empty());
    let compat = config.compat;
    assert!(compat.enabled && compat.anonymous, "{compat:?}");
    assert_eq!(compat.lease, Duration::from_secs(24 * 3600));
    assert_eq!(config.store.url, StoreUrl::Embedded("data".into()));
    assert_eq!(config.engine.cache, Cache::Auto);
    assert_eq!(config.file, None);
    assert!(config.load.is_empty());
    assert!(config.settings.iter().all(|it| it.origin.is_none()));
}

#[test]
fn a_file_that_is_there_but_cannot_be_read_is_not_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(DEFAULT_FILE);
    std::os::unix::fs::symlink("nowhere", &file).unwrap();
    let error = NodeConfig::load(&Sources {
        directory: directory.path().to_owned(),
        ..Sources::default()
    })
    .unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { file: it, .. } if it == file));
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let sources = Sources {
        file: Some("nowhere/lockport.toml".into()),
        ..Sources::default()
    };
    let error = NodeConfig::load(&sources).unwrap_err();
    assert_eq!(error.to_string(), "cannot read `nowhere/lockport.toml`");
}

#[test]
fn a_flag_goes_over_the_environment_and_that_over_the_file() {
    let text = "[store]\nurl = \"embedded:file\"\n[listen]\nhttp = \"127.0.0.1:1\"\n[log]\nformat = \"json\"";
    let variables = [
        ("LOCKPORT_STORE__URL", "embedded:variable"),
        ("LOCKPORT_LISTEN__HTTP", "127.0.0.1:2"),
    ];
    let flags = [Flag::one("--store", "store", "url", "embedded:flag")];
    let config = load(text, &variables, &flags).unwrap();
    assert_eq!(config.store.url, StoreUrl::Embedded("flag".into()));
    assert_eq!(config.listen.http.port(), 2);
    assert_eq!(config.log.format, LogFormat::Json);
    let origin = |key| {
        let setting = config.settings.iter().find(|it| it.key == key).unwrap();
        setting.origin.as_ref().unwrap().to_string()
    };
    assert_eq!(origin("store.url"), "command line, --store");
    assert_eq!(
        origin("listen.http"),
        "environment variable LOCKPORT_LISTEN__HTTP"
    );
    assert!(origin("log.format").ends_with("lockport.toml:6"));
}

#[test]
fn paths_in_a_file_are_relative_to_it() {
    let text =
        "components.load = [\"a\", \"/b\"]\nstore.url = \"embedded:data\"\nengine.cache = \"c\"";
    let config = load(text, &[], &[]).unwrap();
    let directory = config.file.unwrap().parent().unwrap().to_owned();
    assert_eq!(config.load, [directory.join("a"), "/b".into()]);
    assert_eq!(config.store.url, StoreUrl::Embedded(directory.join("data")));
    assert_eq!(config.engine.cache, Cache::At(directory.join("c")));
}

#[test]
fn components_on_the_command_line_replace_those_of_the_file() {
    let flag = Flag {
        name: "DIR|FILE",
        section: "components",
        key: "load",
        values: vec!["x,y".to_owned(), "z".to_owned()],
    };
    let config = load("components.load = [\"a\"]", &[], &[flag]).unwrap();
    assert_eq!(config.load, [PathBuf::from("x,y"), PathBuf::from("z")]);
    let one = Flag {
        name: "DIR|FILE",
        section: "components",
        key: "load",
        values: vec!["x".to_owned()],
    };
    let config = load("", &[("LOCKPORT_COMPONENTS__LOAD", "a, b")], &[]).unwrap();
    assert_eq!(config.load, [PathBuf::from("a"), PathBuf::from("b")]);
    assert_eq!(load("", &[], &[one]).unwrap().load, [PathBuf::from("x")]);
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_reason() {
    for (text, expected) in [
        (
            "[store]\nulr = \"memory:\"",
            "lockport.toml:2: unknown key `store.ulr` (did you mean `url`?)",
        ),
        (
            "[listen]\nhttp = \"localhost\"",
            "lockport.toml:2: `listen.http` must be an address and a port such as \"127.0.0.1:3000\", not `localhost`",
        ),
        (
            "[listen]\nadmin = \"nowhere\"",
            "lockport.toml:2: `listen.admin` must be an address and a port such as \"127.0.0.1:3000\", not `nowhere`; \"off\" turns it off",
        ),
        (
            "[listen]\nlock = \"[::]:1\"",
            "lockport.toml:2: `listen.lock` is [::]:1, which others can reach, but there is no token (add [[tokens]] with a `principal` and a `file`, or listen on 127.0.0.1:1)",
        ),
        (
            "[compat]\nlease = \"25h\"",
            "lockport.toml:2: `compat.lease` is 25h; it must be 1s to 24h",
        ),
        (
            "[[tokens]]\nprincipal = \"a\"\nfile = \"a\"\nlocks = [\"a*\"]",
            "lockport.toml:4: `tokens[0].locks` has `a*`, which has a `*` inside the segment `a*`; it can only be a whole one (entry 1)",
        ),
        (
            "limits.connections = 0",
            "lockport.toml:1: `limits.connections` is 0; it must be 1 to 1000000",
        ),
        (
            "limits.header_timeout = \"0s\"",
            "lockport.toml:1: `limits.header_timeout` is 0s; it must be 10ms to 1h",
        ),
        (
            "limits.header_bytes = \"2MiB\"",
            "lockport.toml:1: `limits.header_bytes` is 2MiB; it must be 1KiB to 1MiB",
        ),
        (
            "components.load = \"a\"",
            "lockport.toml:1: `components.load` must be a list in brackets, not `a`",
        ),
        (
            "components.load = [\"a\", \"\"]",
            "lockport.toml:1: `components.load` is empty (entry 2)",
        ),
        (
            "stroe.url = \"memory:\"",
            "lockport.toml:1: unknown key `stroe` (did you mean `store`?)",
        ),
    ] {
        assert_eq!(refused(text, &[]), expected);
    }
    let level = refused("log.level = \"lockport=loud\"", &[]);
    assert!(
        level.starts_with("lockport.toml:1: `log.level` is not a level or directives: "),
        "{level}"
    );
}

#[test]
fn what_is_wrong_with_a_store_is_named_with_what_there_is() {
    for (text, expected) in [
        (
            "store.url = \"embedded:\"",
            "lockport.toml:1: `store.url` must be \"memory:\", \"embedded:DIR\" or \"redis://HOST:PORT/DB?space=NAME\", not `embedded:`",
        ),
        (
            "store.lease = \"499ms\"",
            "lockport.toml:1: `store.lease` is 499ms; it must be 500ms to 1h",
        ),
        (
            "store.reclaim = \"11m\"",
            "lockport.toml:1: `store.reclaim` is 11m; it must be 1s to 10m",
        ),
        (
            "store.timeout = \"61s\"",
            "lockport.toml:1: `store.timeout` is 61s; it must be 100ms to 1m",
        ),
    ] {
        assert_eq!(refused(text, &[]), expected);
    }
}

#[test]
fn a_variable_that_is_no_key_is_refused_by_its_name() {
    for (variable, expected) in [
        (
            ("LOCKPORT_STORE__ULR", "memory:"),
            "environment variable LOCKPORT_STORE__ULR: unknown key `store.ulr` (did you mean `url`?)",
        ),
        (
            ("LOCKPORT_LIMITS__CONNECTIONS", "many"),
            "environment variable LOCKPORT_LIMITS__CONNECTIONS: `limits.connections` must be a number, not `many`",
        ),
        (
            ("LOCKPORT_STORE_URL", "memory:"),
            "environment variable LOCKPORT_STORE_URL: no key of the configuration has this name (did you mean LOCKPORT_STORE__URL?)",
        ),
    ] {
        assert_eq!(refused("", &[variable]), expected);
    }
    // What clients and commands read is none of the node's business.
    assert!(
        load(
            "",
            &[("LOCKPORT_GRANT", "x"), ("LOCKPORT_API_TOKEN", "y")],
            &[]
        )
        .is_ok()
    );
    let config = load("", &[("LOCKPORT_LOG", "debug")], &[]).unwrap();
    assert_eq!(config.log.level, "debug");
}

#[test]
fn every_variable_reaches_its_key() {
    for key in NodeConfig::keys() {
        let variable = environment::variable(&key);
        let document = {
            let mut document = Document::empty(Origin::Flag("test"));
            let variables = [(variable.clone(), "x".to_owned())];
            environment::apply(&mut document, &variables, &NodeConfig::keys()).unwrap();
            document
        };
        let (section, name) = key.split_once('.').unwrap();
        let section = document.root().section(Box::leak(section.into())).unwrap();
        let origin = section.origin_of(name).unwrap();
        assert_eq!(*origin, Origin::Variable(variable));
    }
}

#[test]
fn the_production_configuration_loads_and_explains_every_key() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/lockport.toml");
    let config = NodeConfig::load(&Sources {
        file: Some(file.clone()),
        ..Sources::default()
    })
    .unwrap();
    for setting in &config.settings {
        let said = matches!(setting.origin, Some(Origin::File { .. }));
        assert!(
            said,
            "deploy/lockport.toml does not mention `{}`",
            setting.key
        );
    }
    // Each key has a comment right above it.
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    for pair in lines
        .windows(2)
        .filter(|it| it[1].contains(" = ") && !it[1].starts_with('#'))
    {
        assert!(pair[0].starts_with('#'), "nothing explains `{}`", pair[1]);
    }
}

#[test]
fn the_defaults_that_the_production_configuration_states_are_the_defaults() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/lockport.toml");
    let stated = NodeConfig::load(&Sources {
        file: Some(file),
        ..Sources::default()
    });
    let default = NodeConfig::load(&Sources {
        directory: "nowhere".into(),
        ..Sources::default()
    });
    let (stated, default) = (stated.unwrap().settings, default.unwrap().settings);
    let differ: Vec<_> = stated
        .iter()
        .zip(&default)
        .filter(|(stated, default)| stated.value != default.value)
        .map(|(stated, _)| stated.key.as_str())
        .collect();
    assert_eq!(differ, ["store.url", "components.load", "log.format"]);
}

#[test]
fn the_production_configuration_shows_what_components_can_be_given() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/lockport.toml");
    let text = std::fs::read_to_string(file).unwrap();
    let example = text.lines().skip_while(|it| *it != "# [config.order]");
    let example: Vec<_> = example
        .take_while(|it| it.starts_with('#'))
        .filter_map(|it| it.strip_prefix("# "))
        .collect();
    let given = load(&example.join("\n"), &[], &[]).unwrap().given;
    assert_eq!(given.config["order"]["greeting"].value, "hello");
    let secrets = &given.secrets["order"];
    let variable = Secret::Variable("ORDER_API_KEY".to_owned());
    assert_eq!(secrets["api-key"].value, variable);
    assert!(matches!(&secrets["signing-key"].value, Secret::File(it) if it.ends_with("order.key")));
}

#[test]
fn the_environment_goes_over_what_a_file_gives_to_a_component() {
    let text = "[config.my-shop]\ngreeting = \"file\"\nother = \"file\"";
    let variables = [
        ("LOCKPORT_CONFIG__MY_SHOP__GREETING", "variable"),
        ("LOCKPORT_CONFIG__ORDER__A__B", "new"),
    ];
    let given = load(text, &variables, &[]).unwrap().given;
    let value = |component: &str, key: &str| given.config[component][key].value.clone();
    assert_eq!(value("my-shop", "greeting"), "variable");
    assert_eq!(value("my-shop", "other"), "file");
    assert_eq!(value("order", "a__b"), "new");
    assert_eq!(
        refused("", &[("LOCKPORT_CONFIG__ORDER", "a")]),
        "environment variable LOCKPORT_CONFIG__ORDER: `config.order` must be a table, not text"
    );
}

#[test]
fn no_secret_is_taken_from_a_variable_of_the_configuration() {
    for name in ["LOCKPORT_SECRETS__ORDER__KEY", "LOCKPORT_SECRETS__ORDER"] {
        let refused = refused("", &[(name, "hunter2")]);
        assert!(refused.contains("no secret is given this way"), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

const TOKEN: &str = "[[tokens]]\nprincipal = \"a\"\nfile = \"a.token\"\n";

#[test]
fn with_a_token_a_node_may_listen_where_others_reach_it() {
    let text = format!("{TOKEN}[listen]\nlock = \"0.0.0.0:1\"\nadmin = \"[::]:2\"");
    let config = load(&text, &[], &[]).unwrap();
    assert_eq!(config.listen.lock.unwrap().port(), 1);
    // Then nobody is let in without one unless that is asked for.
    assert!(!config.compat.anonymous);
    let open = format!("{text}\n[compat]\nanonymous = true");
    assert!(load(&open, &[], &[]).unwrap().compat.anonymous);
}

#[test]
fn what_only_this_machine_reaches_needs_no_token() {
    for address in [
        "127.0.0.1:1",
        "127.8.9.10:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
    ] {
        let text = format!("[listen]\nlock = \"{address}\"");
        assert!(load(&text, &[], &[]).unwrap().compat.anonymous, "{address}");
    }
    let off = load("[listen]\nlock = \"off\"\nadmin = \"off\"", &[], &[]).unwrap();
    assert_eq!((off.listen.lock, off.listen.admin), (None, None));
}

#[test]
fn a_token_opens_every_lock_unless_it_says_which() {
    let text = format!("{TOKEN}{TOKEN}operator = true\nlocks = [\"a/**\"]");
    let config = load(&text, &[], &[]).unwrap();
    let [first, second] = &config.tokens[..] else {
        panic!("{:?}", config.tokens);
    };
    let file = config.file.unwrap().with_file_name("a.token");
    assert_eq!((&first.file, first.operator), (&file, false));
    let shown = |it: &TokenConfig| it.locks.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(first), ["**"]);
    assert_eq!(
        (shown(second), second.operator),
        (vec!["a/**".to_owned()], true)
    );
}

#[test]
fn the_limits_of_locks_are_those_of_the_store() {
    let config = load("[locks]\nwatchers = 7\nholders_per_lock = 3", &[], &[]).unwrap();
    let (limits, default) = (config.locks.store, lockport_store::core::Limits::default());
    assert_eq!((limits.watchers, limits.holders_per_lock), (7, 3));
    assert_eq!(limits.waiters_per_lock, default.waiters_per_lock);
    assert_eq!(limits.ended, default.ended);
}

#[test]
fn the_token_in_the_production_configuration_s_example_is_one() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/lockport.toml");
    let text = std::fs::read_to_string(file).unwrap();
    let example = text.lines().skip_while(|it| *it != "# [[tokens]]");
    let example: Vec<_> = example
        .take_while(|it| it.starts_with('#'))
        .map(|it| it.trim_start_matches('#').trim_start())
        .map(|it| {
            if it.contains(" = ") || it.starts_with('[') {
                it
            } else {
                ""
            }
        })
        .collect();
    let config = load(&example.join("\n"), &[], &[]).unwrap();
    let known: Vec<_> = config
        .settings
        .iter()
        .filter_map(|it| Some((it.key.strip_prefix("tokens[0].")?, it.origin.is_some())))
        .collect();
    assert_eq!(known.len(), 4);
    assert!(
        known.iter().all(|it| it.1),
        "the example lacks one of {known:?}"
    );
}

#[test]
fn a_server_is_a_store_and_its_password_is_shown_to_nobody() {
    for (url, shown) in [
        ("redis://there", "redis://there"),
        ("redis://me@there/1", "redis://***@there/1"),
        (
            "redis://me:hunter2@there:7000/3?space=shop",
            "redis://me:***@there:7000/3?space=shop",
        ),
        ("redis://:s:e@cret@there", "redis://:***@there"),
        (
            "redis+unix:///a?user=me&pass=hunter2&space=b",
            "redis+unix:///a?user=me&pass=***&space=b",
        ),
        ("valkey://:hunter2@there", "valkey://:***@there"),
        ("rediss://me:hunter2@there", "rediss://me:***@there"),
        (
            "redis+sentinel://me:hunter2@a:1,b:2/shop?sentinel_pass=hunter2&space=b",
            "redis+sentinel://me:***@a:1,b:2/shop?sentinel_pass=***&space=b",
        ),
        (
            "rediss+cluster://me:hunter2@a:1,b:2",
            "rediss+cluster://me:***@a:1,b:2",
        ),
    ] {
        let config = load(&format!("store.url = \"{url}\""), &[], &[]).unwrap();
        let StoreUrl::Redis(kept) = &config.store.url else {
            panic!("{:?}", config.store.url);
        };
        assert_eq!(kept.to_string(), shown);
        assert_eq!(
            kept.url().to_string(),
            url.parse::<Url>().unwrap().to_string()
        );
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
        let setting = config.settings.iter().find(|it| it.key == "store.url");
        let value = setting.unwrap().value.as_deref();
        assert_eq!(value, Some(format!("\"{shown}\"").as_str()));
    }
}

#[test]
fn the_url_of_a_server_that_is_refused_does_not_show_its_password_either() {
    for (url, expected) in [
        (
            "redis://me:secret@there?space=A",
            "is `redis://me:***@there?space=A`: `A` is no name of a space: that is 1 to 64 of a-z, 0-9, `-`, `_`, `.`",
        ),
        (
            "redis://me:se?secret@there",
            "is `redis://me:***@there`, which is no \"redis://USER:PASSWORD@HOST:PORT/DB?space=NAME\"",
        ),
        (
            "redis://me:secret@there/x",
            "is `redis://me:***@there/x`, which is no \"redis://USER:PASSWORD@HOST:PORT/DB?space=NAME\"",
        ),
        (
            "redis+cluster://me:secret@there/1",
            "is `redis+cluster://me:***@there/1`: a cluster has no database but 0",
        ),
        (
            "redis+sentinel://me:secret@there,",
            "is `redis+sentinel://me:***@there,`: the URL of sentinels names the service behind them: `redis+sentinel://HOST/SERVICE`",
        ),
        (
            "redis+cluster://me:secret@there/x",
            "is `redis+cluster://me:***@there/x`, which is no \"redis+cluster://HOST:PORT,HOST:PORT?space=NAME\"",
        ),
        (
            "http://me:secret@there",
            "must be \"memory:\", \"embedded:DIR\" or \"redis://HOST:PORT/DB?space=NAME\", not `http://me:***@there`",
        ),
    ] {
        assert_eq!(
            refused("", &[("LOCKPORT_STORE__URL", url)]),
            format!("environment variable LOCKPORT_STORE__URL: `store.url` {expected}"),
        );
    }
}

#[test]
fn files_of_tls_are_relative_to_the_file_that_names_them_and_of_use_with_tls_only() {
    let secure = "[store]\nurl = \"rediss://there\"\ntls_ca = \"ca.pem\"\n";
    let both = "tls_certificate = \"node.pem\"\ntls_key = \"/keys/node\"\n";
    let config = load(&format!("{secure}{both}"), &[], &[]).unwrap();
    let tls = &config.store.tls;
    assert!(tls.ca.as_ref().unwrap().ends_with("ca.pem"));
    let identity = tls.identity.as_ref().unwrap();
    assert!(identity.certificate.ends_with("node.pem"));
    assert_eq!(identity.key, PathBuf::from("/keys/node"));
    for (text, expected) in [
        (
            "[store]\nurl = \"redis://there\"\ntls_ca = \"ca.pem\"\n".to_owned(),
            "`store.url` does not begin with `rediss://`: without TLS there is no use for \
             `tls_ca`, `tls_certificate` and `tls_key`",
        ),
        (
            format!("{secure}tls_key = \"a\"\n"),
            "`store.tls_key` needs `tls_certificate`",
        ),
        (
            format!("{secure}tls_certificate = \"a\"\n"),
            "`store.tls_certificate` needs `tls_key`",
        ),
    ] {
        let refused = refused(&text, &[]);
        assert!(refused.ends_with(expected), "{refused}");
    }
}

#[test]
fn so_many_replicas_have_to_have_what_is_answered() {
    let config = load("store.sync = 2", &[], &[]).unwrap();
    assert_eq!(config.store.sync, 2);
    assert_eq!(load("", &[], &[]).unwrap().store.sync, 0);
    assert!(refused("store.sync = 17", &[]).contains("`store.sync`"));
}
