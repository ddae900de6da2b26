//! The real program: a node as a process of its own, and commands run to their end.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::{NamedTempFile, TempDir};

use super::required;

/// Time for a program to start, to stop, or to reach an awaited state.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Last line that a node prints when it is ready.
const READY: &str = "Ctrl-C stops the node.";

/// A configuration with DNS over TLS, HTTPS and QUIC, on ports that the system chooses.
pub const ENCRYPTED: &str = "dns_tls = \"127.0.0.1:0\"\ndns_https = \"127.0.0.1:0\"\ndns_quic = \"127.0.0.1:0\"\n";

/// The same configuration in tables.
pub const ENCRYPTED_IN_TABLES: &str =
    "version = 1\n\n[dns]\ntls = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:0\"\nquic = \"127.0.0.1:0\"\n";

/// A node in a process of its own, on ports that the system chose. Killed on drop.
pub struct Program {
    child: Child,
    log: NamedTempFile,
    /// Output of the node when it was ready.
    pub introduction: String,
    /// Address of gRPC.
    pub grpc: String,
    /// Address of DNS.
    pub dns: SocketAddr,
    /// Address of HTTP.
    pub http: SocketAddr,
}

impl Program {
    /// Starts a node and waits until it is ready.
    pub fn serve(data: &Path, arguments: &[&str]) -> Self {
        Self::spawn(touchmark().arg("serve").arg("--data").arg(data).args(arguments))
    }

    /// As [`Program::serve`], with a command that is complete but for the addresses.
    pub fn spawn(command: &mut Command) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut child = command
            .args(["--grpc", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let mut introduction = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            introduction += &(line.unwrap() + "\n");
            if introduction.ends_with(&format!("{READY}\n")) {
                break;
            }
        }
        let after = |head: &str| {
            let log = || fs::read_to_string(log.path()).unwrap();
            introduced(&introduction, head)
                .unwrap_or_else(|| panic!("the node is not ready: {introduction}\n{}", log()))
        };
        let (grpc, dns) = (after("gRPC").to_owned(), after("DNS").parse().unwrap());
        let http = after("HTTP").parse().unwrap();
        Self { child, log, introduction, grpc, dns, http }
    }

    /// Address of DNS over `TLS`, `HTTPS` or `QUIC`; `None` if the node does not print one.
    pub fn dns_over(&self, protocol: &str) -> Option<SocketAddr> {
        introduced(&self.introduction, &format!("over {protocol} ")).map(|address| address.parse().unwrap())
    }

    /// Runs a command that talks to the node.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        run(arguments.iter().copied().chain(["--server", &self.grpc]))
    }

    /// Id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Log of the node.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap()
    }

    /// Sends a signal, given by its name.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Sends a signal, given by its name, and returns the exit code.
    pub fn stop(mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        exit_code(&mut self.child)
    }

    /// Kills the process (SIGKILL).
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// First address in the line of an introduction that starts with `head`.
fn introduced<'a>(introduction: &'a str, head: &str) -> Option<&'a str> {
    let line = introduction.lines().find_map(|line| line.trim().strip_prefix(head))?;
    Some(line.split(',').next().unwrap_or_default().trim())
}

impl Drop for Program {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Result of a command.
#[derive(Debug)]
pub struct Ran {
    pub exit: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { exit: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Command line of the program, without arguments. It does not inherit the settings of the environment.
pub fn touchmark() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_touchmark"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TOUCHMARK_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// True if a foreign client can be run; see [`required::is_met`] for clients that are missing.
pub fn is_installed(client: &str) -> bool {
    required::is_met(client, Command::new(client).arg("-v").output().is_ok())
}

/// Runs the program to its end.
pub fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
    touchmark().args(arguments).output().unwrap().into()
}

/// Waits for the end of a process and returns its exit code; `None` if a signal ended it.
pub fn exit_code(child: &mut Child) -> Option<i32> {
    let mut status = None;
    wait_until("the process ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.and_then(|status| status.code())
}

/// Waits until a condition holds.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < TIMEOUT, "{what}: not within {TIMEOUT:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Writes a file into a directory and returns its path.
pub fn file(directory: &TempDir, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}
