//! Processes under load: started, measured, stopped.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::Outcome;

/// A server process on loopback.
pub struct Process {
    child: Child,
    /// Address of the server.
    pub address: String,
    /// Time until the server accepted connections.
    pub started_in: Duration,
}

impl Process {
    /// Starts a node on a data directory.
    pub async fn node(data: &Path) -> Outcome<Self> {
        Self::node_with(data, ["127.0.0.1:0"; 2], &[]).await
    }

    /// As [`Process::node`], with addresses for DNS and HTTP, and more arguments.
    pub async fn node_with(data: &Path, [dns, http]: [&str; 2], arguments: &[&str]) -> Outcome<Self> {
        let address = free_address()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_touchmark"));
        command.args(["serve", "--dns", dns, "--http", http, "--grpc", &address, "--data"]).arg(data);
        command.args(arguments);
        Self::start(command, address).await
    }

    /// Starts the responder of empty calls.
    pub async fn floor(reply_bytes: usize) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["floor", "--reply-bytes", &reply_bytes.to_string()]).stdout(Stdio::piped());
        let mut process = Self::spawn(command, String::new())?;
        let stdout = process.child.stdout.take().ok_or("the floor has no output")?;
        BufReader::new(stdout).read_line(&mut process.address)?;
        process.address = process.address.trim().to_owned();
        Ok(process)
    }

    fn spawn(mut command: Command, address: String) -> Outcome<Self> {
        let child = command.stdin(Stdio::null()).spawn()?;
        Ok(Self { child, address, started_in: Duration::ZERO })
    }

    async fn start(mut command: Command, address: String) -> Outcome<Self> {
        let began = Instant::now();
        command.stdout(Stdio::null());
        let mut process = Self::spawn(command, address)?;
        while std::net::TcpStream::connect(&process.address).is_err() {
            if let Some(status) = process.child.try_wait()? {
                return Err(format!("the node ended with {status}").into());
            }
            if began.elapsed() > Duration::from_secs(120) {
                return Err("the node did not listen within 120 s".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process.started_in = began.elapsed();
        Ok(process)
    }

    /// CPU time used so far, user and system, in microseconds.
    pub fn cpu_us(&self) -> Outcome<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is the name in parentheses; utime and stime are the 14th and 15th, in ticks of 10 ms.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        Ok((ticks(11) + ticks(12)) * 10_000)
    }

    /// Resident memory now and at its highest, in MB.
    pub fn resident_mb(&self) -> Outcome<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        Ok((kib("VmRSS:") / 1_024, kib("VmHWM:") / 1_024))
    }

    /// Stops the server as Ctrl-C does; returns the time until it ended.
    pub fn stop(mut self) -> Outcome<Duration> {
        let began = Instant::now();
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        self.child.wait()?;
        Ok(began.elapsed())
    }

    /// Kills the server.
    pub fn kill(mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free address on loopback.
pub fn free_address() -> Outcome<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Bytes that a directory occupies on the disk.
pub fn disk_bytes(path: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for item in fs::read_dir(path)? {
        let item = item?;
        let metadata = item.metadata()?;
        bytes += if metadata.is_dir() { disk_bytes(&item.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
