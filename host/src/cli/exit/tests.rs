//! The table of exit codes.

use super::*;
use crate::config::Origin;
use crate::node::{ConfigurationError, TokenError, WiringError};
use crate::outbound::TrustError;
use lockport_engine::LoadError;
use lockport_store::redis;
use std::io;

fn config_error() -> ConfigError {
    ConfigError::Wrong {
        origin: Origin::Flag("--store"),
        message: "`store.url` is empty".to_owned(),
        hint: Some("say one".to_owned()),
    }
}

fn section(source: SectionError) -> BundleError {
    BundleError::Section {
        file: "a.wasm".into(),
        source,
    }
}

fn nothing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// That each of these errors ends the process with its code.
fn expect(table: Vec<(StartError, Exit)>) {
    for (error, exit) in table {
        let text = error.to_string();
        assert_eq!(Report::from(error).exit, exit, "{text}");
    }
}

#[test]
fn a_component_that_cannot_be_read_has_its_exit_code() {
    let path = || "x".into();
    let table: Vec<(BundleError, Exit)> = vec![
        (config_error().into(), Exit::Config),
        (
            BundleError::Nothing {
                path: path(),
                source: nothing(),
            },
            Exit::Config,
        ),
        (section(SectionError::NotText), Exit::Config),
        (section(SectionError::TooLong(1)), Exit::Config),
        (section(SectionError::Missing), Exit::Component),
        (section(SectionError::Module), Exit::Component),
        (
            BundleError::TooLarge {
                file: path(),
                bytes: 1,
            },
            Exit::Component,
        ),
        (
            BundleError::Unreadable {
                file: path(),
                source: nothing(),
            },
            Exit::Component,
        ),
        (
            BundleError::NotBuilt {
                name: "a".to_owned(),
                file: path(),
                build: None,
                directory: path(),
            },
            Exit::Component,
        ),
    ];
    let table = table.into_iter();
    expect(table.map(|(error, exit)| (error.into(), exit)).collect());
}

#[test]
fn a_node_that_cannot_start_has_its_exit_code() {
    let path = || "x".into();
    let component = |source| StartError::Component {
        name: "a".to_owned(),
        source,
    };
    let store = StartError::Store;
    let redis = |source| StartError::Redis {
        url: crate::config::node::RedisUrl::example(),
        source,
    };
    expect(vec![
        (WiringError::NameTwice("a".to_owned()).into(), Exit::Config),
        (component(LoadError::NoHandler), Exit::Component),
        (
            component(LoadError::MissingImports(vec![])),
            Exit::Component,
        ),
        (StartError::Engine(LoadError::NoHandler), Exit::Fault),
        (
            StartError::Trust(TrustError::Missing { file: path() }),
            Exit::Config,
        ),
        (
            TokenError::Unreadable {
                principal: "a".to_owned(),
                file: path(),
                source: nothing(),
            }
            .into(),
            Exit::Config,
        ),
        (
            ConfigurationError::NotGiven {
                component: "a".to_owned(),
                key: "b".to_owned(),
            }
            .into(),
            Exit::Config,
        ),
        (
            StartError::Bind {
                address: ([127, 0, 0, 1], 1).into(),
                flag: "--lock",
                source: io::ErrorKind::AddrInUse.into(),
            },
            Exit::Address,
        ),
        (store(OpenError::InUse { path: path() }), Exit::InUse),
        (store(OpenError::Newer { found: 2, known: 1 }), Exit::Store),
        (store(OpenError::Foreign { path: path() }), Exit::Store),
        (store(OpenError::NoLog { path: path() }), Exit::Store),
        (redis(redis::Unfit::Replica.into()), Exit::Store),
        (redis(redis::OpenError::Malformed), Exit::Store),
    ]);
    assert_eq!(Report::from(config_error()).exit, Exit::Config);
    assert_eq!(Report::fault(&nothing()).exit, Exit::Fault);
}

#[test]
fn each_refusal_of_the_lock_api_has_its_exit_code() {
    for reason in Reason::ALL.iter().copied() {
        let expected = match reason {
            Reason::Held | Reason::TimedOut | Reason::Deadlock => Exit::Contention,
            Reason::Lost | Reason::UnknownGrant | Reason::UnknownSession => Exit::Lost,
            Reason::StoreUnavailable
            | Reason::Recovering
            | Reason::Draining
            | Reason::DeadlineExceeded => Exit::Unreachable,
            Reason::Unauthenticated | Reason::AccessDenied | Reason::NotHolder => Exit::Denied,
            Reason::Quota => Exit::Quota,
            Reason::Internal => Exit::Fault,
            _ => Exit::Refused,
        };
        let error = ClientError {
            reason: Some(reason),
            code: reason.code(),
            message: "no".to_owned(),
            source: None,
        };
        assert_eq!(Report::from(error).exit, expected, "{reason}");
    }
}

#[test]
fn the_help_lists_every_code() {
    let all = [
        Exit::Done,
        Exit::Fault,
        Exit::Usage,
        Exit::Config,
        Exit::Component,
        Exit::Address,
        Exit::Store,
        Exit::InUse,
        Exit::Unreachable,
        Exit::Denied,
        Exit::Refused,
        Exit::Quota,
        Exit::Contention,
        Exit::Lost,
        Exit::NotRunnable,
        Exit::NotFound,
    ];
    let listed: Vec<_> = HELP.lines().skip(1).collect();
    assert_eq!(listed.len(), all.len());
    for (code, line) in all.into_iter().zip(listed) {
        let expected = format!("{:>5}  ", code.code());
        assert!(line.starts_with(&expected), "{line}");
    }
}

#[test]
fn a_report_has_the_causes_from_the_outside_in() {
    let report = Report::from(StartError::Component {
        name: "a".to_owned(),
        source: LoadError::MissingImports(vec!["`x:y/z@1.0.0`".to_owned()]),
    });
    assert_eq!(report.error, "the component `a` cannot be loaded");
    assert_eq!(
        report.causes,
        ["it imports `x:y/z@1.0.0`, which this host does not offer"]
    );
    assert!(report.hint.unwrap().starts_with("build it for the world"));
}
