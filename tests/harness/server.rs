//! A server of the world outside, which behaves as a test likes: well, badly,
//! or not at all.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A server on a free port. It takes connections until the test ends.
pub(crate) struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

/// A server over TLS, whose certificate is from an authority of its own.
/// Dropping it ends it.
pub(crate) struct TlsServer {
    process: Child,
    port: u16,
    files: tempfile::TempDir,
}

impl Server {
    /// Gives each connection to `serve`, on a thread of its own.
    #[track_caller]
    pub(crate) fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let accepted = Arc::new(AtomicUsize::new(0));
        let (count, serve) = (Arc::clone(&accepted), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Self { address, accepted }
    }

    /// Answers every request with these bytes.
    #[track_caller]
    pub(crate) fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(
            move |mut stream| {
                while request_of(&mut stream).is_some() && stream.write_all(&answer).is_ok() {}
            },
        )
    }

    /// Answers every request with 200 and this text.
    #[track_caller]
    pub(crate) fn greeting(text: &str) -> Self {
        let length = text.len();
        Self::saying(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{text}"
        ))
    }

    /// Reads a request, says these bytes, and nothing any more, for as long as
    /// the other side stays.
    #[track_caller]
    pub(crate) fn stopping_after(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |mut stream| {
            request_of(&mut stream);
            let _ = stream.write_all(&answer);
            let _ = stream.read(&mut [0; 1]);
        })
    }

    /// Its URL, without a path.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections it has taken.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Reads a request with a body of chunks or none; its head.
pub(crate) fn request_of(stream: &mut TcpStream) -> Option<String> {
    let mut head = until(stream, b"\r\n\r\n")?;
    if head.contains("transfer-encoding: chunked") {
        let mut body = until(stream, b"\r\n")?;
        while body != "0\r\n" {
            body = until(stream, b"\r\n")?;
        }
        until(stream, b"\r\n")?;
    }
    head.make_ascii_lowercase();
    Some(head)
}

fn until(stream: &mut TcpStream, end: &[u8]) -> Option<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(end) {
        stream.read_exact(&mut byte).ok()?;
        text.push(byte[0]);
    }
    String::from_utf8(text).ok()
}

impl TlsServer {
    /// A server of the name or address `called`, such as `IP:127.0.0.1`.
    #[track_caller]
    pub(crate) fn start(called: &str) -> Self {
        let files = tempfile::tempdir().expect("a directory for temporary files");
        let openssl = || {
            let mut command = Command::new("openssl");
            command.current_dir(files.path()).stderr(Stdio::null());
            command
        };
        let make = |name: &str, more: &[&str]| {
            let mut command = openssl();
            command.args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"]);
            command.args(["-pkeyopt", "ec_paramgen_curve:prime256v1"]);
            command.args(["-subj", &format!("/CN={name}")]);
            command.args(["-keyout", &format!("{name}.key")]);
            command.args(["-out", &format!("{name}.pem")]).args(more);
            let made = command.status().expect("openssl is installed");
            assert!(made.success(), "openssl made no certificate");
        };
        make("ca", &["-addext", "basicConstraints=critical,CA:TRUE"]);
        let names = format!("subjectAltName={called}");
        let end = "basicConstraints=critical,CA:FALSE";
        let issued = ["-CA", "ca.pem", "-CAkey", "ca.key"];
        make(
            "server",
            &[&issued[..], &["-addext", &names, "-addext", end]].concat(),
        );
        let mut process = openssl()
            .args(["s_server", "-accept", "127.0.0.1:0", "-www"])
            .args(["-cert", "server.pem", "-key", "server.key"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        let stdout = process.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let port = lines.find_map(|it| {
            let address = it.strip_prefix("ACCEPT ")?;
            address.rsplit(':').next()?.trim().parse().ok()
        });
        // Whatever else it says has no reader; the pipe is only kept empty.
        thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            port: port.expect("openssl says where it listens"),
            files,
        }
    }

    /// Its URL, without a path.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate of its authority.
    pub(crate) fn ca(&self) -> String {
        self.files.path().join("ca.pem").display().to_string()
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
