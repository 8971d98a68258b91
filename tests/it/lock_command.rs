//! `lockport lock`: a command runs while locks are held, and not for longer.

use crate::harness::{
    LockApi, Lockport, Node, Proxy, Running, Speaks, Way, acquire, acquire_waiting, address_of,
    eventually, lockport,
};
use rustix::process::Signal;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Reads one line from a pipe that the test may write to, so that the command
/// goes on until it is told.
const UNTIL_TOLD: &str = "echo started; read line < gate";

/// The same, and does not listen to SIGTERM; nor does what it starts.
const STUBBORN: &str = "trap '' TERM; (read line < gate) & echo $!; echo $$; echo started; \
                        while :; do read line < gate; done";

/// A directory with a pipe, for a command to run in.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = TempDir::new().expect("a directory for temporary files");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place.path().join("gate"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .expect("the directory is ours");
        Self(place)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Lets the command go on.
    fn open_gate(&self) {
        std::fs::write(self.path().join("gate"), "go\n").expect("the command reads");
    }

    /// Starts `lockport lock` with this script, and waits until it runs.
    #[track_caller]
    fn start(&self, server: SocketAddr, flags: &[&str], script: &str) -> Running {
        let running = self.start_waiting(server, flags, script);
        running.stdout.wait_for("started");
        running
    }

    #[track_caller]
    fn start_waiting(&self, server: SocketAddr, flags: &[&str], script: &str) -> Running {
        self.prepare(server, flags, script).start()
    }

    /// The same, and standard input is a terminal.
    #[track_caller]
    fn start_at_a_terminal(&self, server: SocketAddr, flags: &[&str], script: &str) -> Running {
        let prepared = self.prepare(server, flags, script);
        let running = prepared.at_a_terminal().start();
        running.stdout.wait_for("started");
        running
    }

    fn prepare(&self, server: SocketAddr, flags: &[&str], script: &str) -> Lockport {
        let server = server.to_string();
        let before = ["lock", "--server", &server];
        let behind = ["--", "sh", "-c", script];
        lockport([&before, flags, &behind].concat()).dir(self.path())
    }
}

/// Whether a process still runs: one that was ended and not looked at does not.
fn runs(pid: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit(") ").next().unwrap_or_default();
    !state.starts_with(['Z', 'X'])
}

/// The numbers of processes that a command printed.
fn printed_pids(running: &Running) -> Vec<String> {
    let lines = running.stdout.lines();
    let pids = lines.into_iter().filter(|it| it.parse::<u32>().is_ok());
    pids.collect()
}

#[test]
fn the_command_runs_under_its_locks_and_knows_its_grant() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let place = Place::new();
    let script = format!("echo \"$LOCKPORT_FENCING_TOKEN $LOCKPORT_GRANT\"; {UNTIL_TOLD}");
    let running = place.start(address_of(&node), &["a", "b"], &script);
    let lock = api.look("b");
    assert_eq!(lock.holder_count, 1);
    let holder = &lock.holders[0].holder;
    assert!(holder.starts_with("sh (process "), "{holder}");
    let first = running.stdout.lines().remove(0);
    let (token, grant) = first.split_once(' ').expect("it prints both");
    assert_eq!(token, lock.last_fencing_token.to_string());
    api.renew(grant, None).expect("the grant is its own");

    place.open_gate();
    let finished = running.finish().expect_code(0);
    assert_eq!(finished.stderr, "");
    assert_eq!(api.look("a").holder_count, 0, "it was released");
}

#[test]
fn the_command_s_exit_code_is_passed_on() {
    let node = Node::builder().start();
    let place = Place::new();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)] {
        let running = place.start_waiting(address_of(&node), &["a"], script);
        running.finish().expect_code(code);
    }
}

#[test]
fn what_is_not_obtained_is_not_run() {
    let node = Node::builder().start();
    LockApi::of(&node).grant(acquire(["a"]));
    let place = Place::new();
    for (flags, code) in [
        (&["a"][..], 75),
        (&["a", "--wait", "50ms"], 75),
        (&["a", "--conflict-exit-code", "0"], 0),
        (&["b", "a", "--conflict-exit-code", "9"], 9),
    ] {
        let running = place.start_waiting(address_of(&node), flags, "echo run");
        let finished = running.finish().expect_code(code);
        assert_eq!(finished.stdout, "");
        assert!(finished.stderr.contains("error: "), "{}", finished.stderr);
    }
    // Another failure keeps its code.
    let flags = ["", "--conflict-exit-code", "0"];
    let running = place.start_waiting(address_of(&node), &flags, "echo run");
    running.finish().expect_code(10);
}

#[test]
fn a_command_waits_for_its_locks_and_shares_them() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let place = Place::new();
    let grant = api.grant(acquire(["a"]));
    let running = place.start_waiting(address_of(&node), &["a", "--wait", "1m"], "echo run");
    api.wait_until_waiting("a", 1);
    assert_eq!(running.stdout.text(), "");
    api.release(&grant.id).expect("it is held");
    assert_eq!(running.finish().expect_code(0).stdout, "run");

    let reader = place.start(address_of(&node), &["a", "--shared"], UNTIL_TOLD);
    let other = place.start_waiting(address_of(&node), &["a", "--shared"], "echo run");
    other.finish().expect_code(0);
    place.open_gate();
    reader.finish().expect_code(0);
}

#[test]
fn a_command_that_cannot_be_run_leaves_no_lock() {
    let node = Node::builder().start();
    let place = Place::new();
    let server = address_of(&node).to_string();
    std::fs::write(place.path().join("plain"), "").expect("the directory is ours");
    for (command, code) in [("no-such-command", 127), ("./plain", 126)] {
        lockport(["lock", "a", "--server", &server, "--", command])
            .dir(place.path())
            .run()
            .expect_code(code)
            .expect_stderr(&[command, "caused by: "]);
        assert_eq!(LockApi::of(&node).look("a").holder_count, 0);
    }
    lockport(["lock", "a", "--server", &server])
        .run()
        .expect_code(2);
}

#[test]
fn a_command_may_run_for_longer_than_the_lease() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let place = Place::new();
    let start = Instant::now();
    let lease = Duration::from_secs(2);
    let running = place.start(address_of(&node), &["a", "--lease", "2s"], UNTIL_TOLD);
    let token = api.look("a").last_fencing_token;
    eventually("two leases pass", || {
        assert_eq!(api.look("a").last_fencing_token, token);
        (start.elapsed() > lease * 2).then_some(())
    });
    place.open_gate();
    running.finish().expect_code(0);
}

#[test]
fn signals_are_passed_on() {
    let node = Node::builder().start();
    for signal in [
        Signal::INT,
        Signal::TERM,
        Signal::HUP,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
    ] {
        let place = Place::new();
        let running = place.start(address_of(&node), &["a"], UNTIL_TOLD);
        running.signal(signal);
        running.finish().expect_code(128 + signal.as_raw());
        assert_eq!(LockApi::of(&node).look("a").holder_count, 0);
    }
}

#[test]
fn a_signal_that_was_ignored_from_the_start_still_is() {
    let node = Node::builder().start();
    let place = Place::new();
    let script = format!("kill -HUP $$; {UNTIL_TOLD}");
    let prepared = place.prepare(address_of(&node), &["a"], &script);
    let running = prepared.ignoring("HUP").start();
    running.stdout.wait_for("started");
    running.signal(Signal::HUP);
    place.open_gate();
    running.finish().expect_code(0);
}

#[test]
fn a_signal_reaches_what_the_command_has_started() {
    a_signal_reaches_what_was_started_by(Place::start);
}

#[test]
fn at_a_terminal_too_a_signal_reaches_what_the_command_has_started() {
    a_signal_reaches_what_was_started_by(Place::start_at_a_terminal);
}

#[track_caller]
fn a_signal_reaches_what_was_started_by(start: fn(&Place, SocketAddr, &[&str], &str) -> Running) {
    let node = Node::builder().start();
    let place = Place::new();
    let script = "(read line < gate) & echo $!; echo started; wait";
    let running = start(&place, address_of(&node), &["a"], script);
    let pids = printed_pids(&running);
    assert!(runs(&pids[0]));
    running.signal(Signal::TERM);
    running.finish().expect_code(143);
    eventually("it ends", || (!runs(&pids[0])).then_some(()));
}

#[test]
fn a_signal_while_it_waits_gives_up_the_wait() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    api.grant(acquire(["a"]));
    let place = Place::new();
    let running = place.start_waiting(address_of(&node), &["a", "--wait", "1h"], "echo run");
    api.wait_until_waiting("a", 1);
    running.signal(Signal::TERM);
    let finished = running.finish().expect_code(143);
    assert_eq!(finished.stdout, "");
    api.wait_until_waiting("a", 0);
}

#[test]
fn a_command_whose_lock_is_taken_away_is_told_to_end() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let place = Place::new();
    let script = format!("trap 'echo told; exit 0' TERM; {UNTIL_TOLD}");
    let running = place.start(address_of(&node), &["a", "--lease", "2s"], &script);
    api.force_release("a").expect("it may");
    let finished = running.finish().expect_code(76);
    assert!(finished.stdout.contains("told"), "{}", finished.stdout);
    assert!(finished.stderr.contains("error: "), "{}", finished.stderr);
}

#[test]
fn l28_a_command_that_ignores_the_loss_of_its_lock_is_killed() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let place = Place::new();
    let running = place.start(address_of(&node), &["a", "--lease", "2s"], STUBBORN);
    let pids = printed_pids(&running);
    assert!(
        pids.len() == 2 && pids.iter().all(|it| runs(it)),
        "{pids:?}"
    );
    api.force_release("a").expect("it may");
    running.finish().expect_code(76);
    eventually("both end", || {
        (!pids.iter().any(|it| runs(it))).then_some(())
    });
}

#[test]
fn l28_a_command_that_ignores_sigterm_is_killed_before_another_is_granted() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let proxy = Proxy::to(address_of(&node));
    let place = Place::new();
    let running = place.start(proxy.address(), &["a", "--lease", "4s"], STUBBORN);
    let pids = printed_pids(&running);
    assert!(
        pids.len() == 2 && pids.iter().all(|it| runs(it)),
        "{pids:?}"
    );
    proxy.swallow(Way::ToNode);
    proxy.swallow(Way::ToClient);
    api.grant(acquire_waiting(["a"]));
    // From here on another holds the lock.
    for pid in &pids {
        assert!(!runs(pid), "the command outlived its lock");
    }
    running.finish().expect_code(76);
}

#[test]
fn a_command_whose_lock_cannot_be_renewed_is_told_before_the_lease_is_over() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let proxy = Proxy::to(address_of(&node));
    let place = Place::new();
    let script = format!("trap 'echo told; exit 0' TERM; {UNTIL_TOLD}");
    let running = place.start(proxy.address(), &["a", "--lease", "6s"], &script);
    proxy.swallow(Way::ToNode);
    proxy.swallow(Way::ToClient);
    running.stdout.wait_for("told");
    assert_eq!(api.look("a").holder_count, 1, "its lease is not over");
    proxy.cut_and_heal();
    running.finish().expect_code(76);
    api.wait_until_idle("a");
}

#[test]
fn a_command_does_not_outlive_a_lockport_that_is_killed() {
    let node = Node::builder().start();
    let place = Place::new();
    let script = format!("trap '' TERM; echo $$; {UNTIL_TOLD}");
    let running = place.start(address_of(&node), &["a"], &script);
    let pids = printed_pids(&running);
    assert!(runs(&pids[0]));
    running.signal(Signal::KILL);
    eventually("it is killed", || (!runs(&pids[0])).then_some(()));
}

#[test]
fn a_lockport_that_stood_still_for_longer_than_its_lease_kills_the_command_first() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let place = Place::new();
    let script = format!("trap 'echo told' TERM; echo $$; {UNTIL_TOLD}; {UNTIL_TOLD}");
    let running = place.start(address_of(&node), &["a", "--lease", "1s"], &script);
    let pids = printed_pids(&running);
    running.signal(Signal::STOP);
    api.grant(acquire_waiting(["a"]));
    assert!(runs(&pids[0]), "nobody was there to end it");
    running.signal(Signal::CONT);
    let finished = running.finish().expect_code(76);
    assert!(!runs(&pids[0]));
    assert!(!finished.stdout.contains("told"), "{}", finished.stdout);
}

#[test]
fn a_command_that_ended_while_lockport_stood_still_may_have_outlived_its_lock() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let place = Place::new();
    let script = format!("echo $$; {UNTIL_TOLD}");
    let running = place.start(address_of(&node), &["a", "--lease", "1s"], &script);
    let pids = printed_pids(&running);
    running.signal(Signal::STOP);
    api.grant(acquire_waiting(["a"]));
    place.open_gate();
    eventually("it ends", || (!runs(&pids[0])).then_some(()));
    running.signal(Signal::CONT);
    running.finish().expect_code(76);
}

#[test]
fn at_a_terminal_too_all_that_the_command_has_started_ends_with_its_lock() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let place = Place::new();
    let flags = ["a", "--lease", "2s"];
    let running = place.start_at_a_terminal(address_of(&node), &flags, STUBBORN);
    let pids = printed_pids(&running);
    assert!(
        pids.len() == 2 && pids.iter().all(|it| runs(it)),
        "{pids:?}"
    );
    api.force_release("a").expect("it may");
    running.finish().expect_code(76);
    for pid in &pids {
        assert!(!runs(pid), "lockport has ended before {pid}");
    }
}

#[test]
fn what_a_command_that_listens_has_left_behind_ends_before_the_lock_is_given_back() {
    let node = Node::builder().start();
    let api = LockApi::of(&node);
    let place = Place::new();
    // One of its own session, which no signal to a group reaches.
    let script = "setsid sh -c 'echo $$; trap \"\" TERM; echo started; read line < gate' & \
                  trap 'exit 0' TERM; while :; do wait; done";
    let [a, b] = ["a", "b"].map(|name| [name, "--lease", "2s"]);
    for (name, running) in [
        ("a", place.start(address_of(&node), &a, script)),
        (
            "b",
            place.start_at_a_terminal(address_of(&node), &b, script),
        ),
    ] {
        let pids = printed_pids(&running);
        assert!(runs(&pids[0]));
        api.force_release(name).expect("it may");
        running.finish().expect_code(76);
        assert!(!runs(&pids[0]), "lockport has ended before {}", pids[0]);
    }
}

#[test]
fn a_signal_before_there_is_a_connection_ends_it_at_once() {
    // Its queue is full, so that nobody else gets in.
    let runtime = tokio::runtime::Runtime::new().expect("there are threads");
    let _entered = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().expect("there are sockets");
    socket
        .bind("127.0.0.1:0".parse().expect("it is an address"))
        .expect("a port is free");
    let listener = socket.listen(1).expect("it is bound");
    let address = listener.local_addr().expect("it is bound");
    let short = Duration::from_millis(300);
    let connections = std::iter::from_fn(|| TcpStream::connect_timeout(&address, short).ok());
    let _queued: Vec<_> = connections.take(64).collect();

    let place = Place::new();
    let running = place.start_waiting(address, &["a", "-v"], "echo run");
    running.stderr.wait_for("connecting");
    running.signal(Signal::TERM);
    let finished = running.finish().expect_code(143);
    assert_eq!(finished.stdout, "");
}
