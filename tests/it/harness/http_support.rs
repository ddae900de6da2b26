//! An HTTP client that shares nothing with the project: one request over one TCP connection, or many events over one.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Time for a response or an event.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Value of a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self
            .head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }
}

/// Sends a GET request.
pub fn get(address: SocketAddr, path: &str) -> Reply {
    request(address, "GET", path, "")
}

/// Sends one request with additional header lines, and reads the response to its end.
pub fn request(address: SocketAddr, method: &str, path: &str, lines: &str) -> Reply {
    let mut stream = send(address, method, path, &format!("Connection: close\r\n{lines}"));
    let (status, head) = head(&mut stream);
    let mut body = Vec::new();
    stream.read_to_end(&mut body).unwrap();
    Reply { status, head, body }
}

fn send(address: SocketAddr, method: &str, path: &str, lines: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
    stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{lines}\r\n").as_bytes()).unwrap();
    BufReader::new(stream)
}

fn head(stream: &mut BufReader<TcpStream>) -> (u16, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
    }
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head)
}

/// A server-sent event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    pub id: Option<u64>,
    pub kind: String,
    pub data: String,
}

/// An open stream of events.
pub struct Events {
    stream: BufReader<TcpStream>,
    text: String,
    /// True once the server ended the stream; false if the connection was cut off.
    pub is_complete: bool,
}

impl Events {
    /// Opens a stream; panics if the server refuses.
    pub fn open(address: SocketAddr, path: &str, lines: &str) -> Self {
        let mut stream = send(address, "GET", path, lines);
        let (status, head) = head(&mut stream);
        assert_eq!(status, 200, "{head}");
        assert!(head.to_lowercase().contains("content-type: text/event-stream"), "{head}");
        Self { stream, text: String::new(), is_complete: false }
    }

    /// Next event; `None` at the end of the stream.
    pub fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut event = Event::default();
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => event.id = Some(id.parse().unwrap()),
                        Some(("event", kind)) => event.kind = kind.into(),
                        Some(("data", data)) => event.data += data,
                        Some(("", _)) => {}
                        other => panic!("{other:?}"),
                    }
                }
                self.text = rest.to_owned();
                if event != Event::default() {
                    return Some(event);
                }
                continue;
            }
            let chunk = self.chunk()?;
            self.text += &chunk;
        }
    }

    /// Next chunk (RFC 9112 section 7.1).
    fn chunk(&mut self) -> Option<String> {
        let mut line = String::new();
        // A connection that is cut off ends the stream, too.
        if self.stream.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        let len = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; len + 2];
        self.stream.read_exact(&mut chunk).ok()?;
        chunk.truncate(len);
        self.is_complete = len == 0;
        (len > 0).then(|| String::from_utf8(chunk).unwrap())
    }
}
