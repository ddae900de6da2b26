//! Witnesses over the real program: replies, promises kept across kill -9, cosigned checkpoints of a node, and a node
//! on an old copy of its directory that does not start.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tempfile::TempDir;
use touchmark::tlog::{
    Hash, LedgerKey, empty_root,
    note::{CosignerKey, VerifierKey, verify_checkpoint},
    tlog_proof::TlogProof,
    witness::{AddCheckpoint, origin_hash},
};

use crate::{
    program::{Program, TIMEOUT, exit_code, file, run, touchmark, wait_until},
    support::directory,
};

/// A witness in a process of its own. Killed on drop.
struct WitnessProgram {
    child: Child,
    address: String,
    key: String,
}

impl WitnessProgram {
    /// Starts a witness that keeps its files below `directory`, on the given address.
    fn start(directory: &Path, listen: &str, logs: &[&str]) -> Self {
        let mut command = touchmark();
        command.args(["witness", "--listen", listen, "--name", "w.test/1"]);
        command.arg("--state").arg(directory.join("state")).arg("--key").arg(directory.join("key"));
        for log in logs {
            command.args(["--log", log]);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut introduction = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            introduction.push(line.unwrap());
            if introduction.last().is_some_and(|line| line.starts_with("Ctrl-C")) {
                break;
            }
        }
        let after = |head: &str| {
            let line = introduction.iter().find_map(|line| line.trim().strip_prefix(head));
            line.unwrap_or_else(|| panic!("the witness is not ready: {introduction:?}")).trim().to_owned()
        };
        Self { child, address: after("HTTP"), key: after("key") }
    }

    fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.address.clone()
    }

    /// Sends a body; returns status, content type and body of the reply.
    fn post(&self, body: impl AsRef<[u8]>) -> (u16, String, String) {
        reply(agent().post(format!("http://{}/add-checkpoint", self.address)).send(body.as_ref()))
    }

    fn latest(&self, origin: &str) -> (u16, String, String) {
        reply(agent().get(format!("http://{}/{}/checkpoint", self.address, origin_hash(origin))).call())
    }

    /// Argument of `--witness` for this witness.
    fn argument(&self) -> String {
        format!("{} http://{}/", self.key, self.address)
    }
}

impl Drop for WitnessProgram {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).build().into()
}

fn reply(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, String, String) {
    let mut response = response.unwrap();
    let kind = response.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
    (response.status().as_u16(), kind, response.body_mut().read_to_string().unwrap())
}

fn log_key(directory: &TempDir) -> LedgerKey {
    LedgerKey::open_or_create(&directory.path().join("log"), "log.test", [1; 32]).unwrap()
}

fn request(key: &LedgerKey, old_size: u64, proof: &[Hash], size: u64, root: Hash) -> String {
    let checkpoint = key.sign(size, root).unwrap().note.to_string();
    AddCheckpoint { old_size, proof: proof.into(), checkpoint }.write()
}

#[test]
fn the_replies_of_tlog_witness() {
    let directory = directory();
    let key = log_key(&directory);
    let witness = WitnessProgram::start(directory.path(), "127.0.0.1:0", &[key.verifier_key()]);
    let [one, two] = [Hash([1; 32]), Hash([2; 32])];
    let node = tlog_tiles::node_hash(one, two);
    assert_eq!(witness.latest("log.test").0, 404);
    let stranger = LedgerKey::open_or_create(&directory.path().join("s"), "log.test", [2; 32]).unwrap();
    let elsewhere = LedgerKey::open_or_create(&directory.path().join("e"), "else.test", [2; 32]).unwrap();
    let table: [(&str, String, u16); 13] = [
        ("another key", request(&stranger, 0, &[], 1, one), 403),
        ("another log", request(&elsewhere, 0, &[], 1, one), 404),
        ("no request", "add this\n".into(), 400),
        ("a first one", request(&key, 0, &[], 1, one), 200),
        ("the same, from nothing", request(&key, 0, &[], 1, one), 409),
        ("the same again", request(&key, 1, &[], 1, one), 200),
        ("another root", request(&key, 1, &[], 1, two), 422),
        ("no proof", request(&key, 1, &[], 2, node), 422),
        ("a wrong proof", request(&key, 1, &[one], 2, node), 422),
        ("an old size that is too large", request(&key, 2, &[], 1, one), 400),
        ("an empty tree with leaves", request(&key, 0, &[], 0, one), 422),
        ("one more", request(&key, 1, &[two], 2, node), 200),
        ("back again", request(&key, 0, &[], 0, empty_root()), 409),
    ];
    for (case, body, status) in table {
        let (found, kind, text) = witness.post(&body);
        assert_eq!(found, status, "{case}: {text}");
        match status {
            409 => assert_eq!((kind.as_str(), text.ends_with('\n')), ("text/x.tlog.size", true), "{case}: {text}"),
            200 => {
                let note = body.split_once("\n\n").unwrap().1.to_owned() + &text;
                let keys: Vec<VerifierKey> = [key.verifier_key(), &witness.key].map(|key| key.parse().unwrap()).into();
                let verified = verify_checkpoint(note.as_bytes(), &keys).unwrap();
                assert_eq!(verified.cosignatures.len(), 1, "{case}");
                let (_, _, latest) = witness.latest("log.test");
                assert_eq!(verify_checkpoint(latest.as_bytes(), &keys).unwrap().head, verified.head);
            }
            _ => {}
        }
    }
    // The witness responds with 413, or closes the connection to a client that keeps sending.
    let long = agent().post(format!("http://{}/add-checkpoint", witness.address)).send(&vec![b'x'; 1 << 20][..]);
    assert!(long.map_or(true, |response| response.status() == 413));
    assert_eq!(witness.post(request(&key, 0, &[], 5, one)).2, "2\n");
    let second = touchmark()
        .args(["witness", "--listen", "127.0.0.1:0", "--log", key.verifier_key()])
        .arg("--state")
        .arg(directory.path().join("state"))
        .arg("--key")
        .arg(directory.path().join("key"))
        .output()
        .unwrap();
    assert!(String::from_utf8(second.stderr).unwrap().contains("in use by another witness"));
}

/// Kill -9 at any moment: the next process knows every checkpoint for which somebody holds a cosignature.
#[test]
fn a_killed_witness_keeps_its_promises() {
    let directory = directory();
    let key = log_key(&directory);
    let leaves: Vec<Hash> = (0..200).map(|leaf| Hash([leaf; 32])).collect();
    let mut promised = 0;
    for round in 0..4_u64 {
        let witness = WitnessProgram::start(directory.path(), "127.0.0.1:0", &[key.verifier_key()]);
        let (address, pid) = (witness.address.clone(), witness.child.id().to_string());
        let killer = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(40 + 30 * round));
            Command::new("kill").args(["-9", &pid]).status().unwrap()
        });
        let agent = agent();
        // The killed witness may have cosigned one checkpoint more than it acknowledged.
        let mut old =
            match agent.post(format!("http://{address}/add-checkpoint")).send(request(&key, 0, &[], 1, leaves[0])) {
                Ok(mut response) if response.status() == 409 => {
                    response.body_mut().read_to_string().unwrap().trim().parse().unwrap()
                }
                Ok(_) => 1,
                Err(_) => promised,
            };
        assert!(old == promised || old == promised + 1 || promised == 0, "{old} is not {promised}");
        while old < 200 {
            let (proof, root) = grown(&leaves, old);
            let body = request(&key, old, &proof, old + 1, root);
            match agent.post(format!("http://{address}/add-checkpoint")).send(body) {
                Ok(response) if response.status() == 200 => {
                    old += 1;
                    promised = old;
                }
                Ok(response) => panic!("{response:?}"),
                Err(_) => break,
            }
        }
        promised = promised.max(old);
        killer.join().unwrap();
        drop(witness);
    }
    assert!(promised > 4, "{promised}");
}

/// Consistency proof from `old` leaves to one more, and the new root (RFC 9162 section 2.1.4.1, word for word).
fn grown(leaves: &[Hash], old: u64) -> (Vec<Hash>, Hash) {
    fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                tlog_tiles::node_hash(root(left), root(right))
            }
        }
    }
    fn proof(old: usize, leaves: &[Hash], complete: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if complete { Vec::new() } else { vec![root(leaves)] };
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let (mut path, other) = match old.checked_sub(left.len()) {
            None | Some(0) => (proof(old, left, complete), right),
            Some(old) => (proof(old, right, false), left),
        };
        path.push(root(other));
        path
    }
    let new = &leaves[..=old as usize];
    (if old == 0 { Vec::new() } else { proof(old as usize, new, true) }, root(new))
}

/// Creates a ledger whose key is known before a witness starts; returns the key.
fn known_ledger(data: &Path) -> String {
    let node = Program::serve(data, &[]);
    let line = node.introduction.lines().find_map(|line| line.trim().strip_prefix("ledger key"));
    let key = line.unwrap().trim().to_owned();
    assert_eq!(node.stop("INT"), Some(0));
    key
}

fn register(node: &Program, identifier: &str) {
    let ran = node.run(&["register", identifier, "--value", "NAME=x"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
}

/// Waits until the witness has cosigned a checkpoint of this size.
fn wait_for(witness: &WitnessProgram, size: u64) {
    wait_until("the checkpoint is cosigned", || {
        let (_, _, latest) = witness.latest("id.test/ledger");
        latest.lines().nth(1) == Some(&size.to_string())
    });
}

#[test]
fn checkpoints_come_back_cosigned() {
    let (data, directory, files) = (directory(), directory(), directory());
    let key = known_ledger(data.path());
    let witness = WitnessProgram::start(directory.path(), "127.0.0.1:0", &[&key]);
    let node = Program::serve(data.path(), &["--witness", &witness.argument()]);
    for number in 0..3 {
        register(&node, &format!("88.118/P{number}"));
    }
    let path = files.path().join("proof").to_str().unwrap().to_owned();
    let mut cosigned = false;
    wait_until("a proof has a cosignature", || {
        assert_eq!(node.run(&["prove", "2", "-o", &path]).exit, 0);
        let proof = TlogProof::parse(&fs::read(&path).unwrap()).unwrap();
        cosigned = proof.checkpoint.contains("\u{2014} w.test/1 ");
        cosigned
    });
    let policy = format!("log {key}\nwitness W {}\nquorum W\n", witness.key);
    let policy = file(&files, "policy", policy);
    let ran = run(["verify", &path, "--policy", &policy]);
    assert_eq!((ran.exit, ran.out.contains("cosigned by   W, 20")), (0, true), "{ran:?}");
    let ran = node.run(&["consistency", &path, "--policy", &policy]);
    assert_eq!(ran.exit, 0, "{ran:?}");

    // An unreachable witness is logged, and asked again.
    let address = witness.kill();
    register(&node, "88.118/P3");
    wait_until("the node says that the witness is gone", || node.log().contains("the witness does not cosign"));
    assert_eq!(node.run(&["prove", "3"]).exit, 0, "proofs go on");
    let witness = WitnessProgram::start(directory.path(), &address, &[&key]);
    wait_for(&witness, 4);
    wait_until("the node says that it is back", || node.log().contains("the witness cosigns again"));
    assert_eq!(node.stop("INT"), Some(0));
}

/// Copies a directory as a backup tool does, with the node stopped.
fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-R").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Starts a node that must not start; returns its error output.
fn refused(data: &Path, arguments: &[&str]) -> String {
    let mut command = touchmark();
    command.args(["serve", "--grpc", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--http", "off", "--data"]).arg(data);
    let mut child = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let code = exit_code(&mut child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code, Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_old_copy_of_a_directory_is_not_continued() {
    let (parent, directory) = (directory(), directory());
    let (data, old) = (parent.path().join("data"), parent.path().join("old"));
    let key = known_ledger(&data);
    let witness = WitnessProgram::start(directory.path(), "127.0.0.1:0", &[&key]);
    let argument = witness.argument();
    let arguments = ["--witness", argument.as_str()];
    let node = Program::serve(&data, &arguments);
    register(&node, "88.118/P0");
    wait_for(&witness, 1);
    assert_eq!(node.stop("INT"), Some(0));
    copy(&data, &old);
    let node = Program::serve(&data, &arguments);
    register(&node, "88.118/P1");
    wait_for(&witness, 2);
    assert_eq!(node.stop("INT"), Some(0));

    let head = fs::read(old.join("ledger/signed_head")).unwrap();
    let said = refused(&old, &arguments);
    assert!(
        said.contains("is an old copy: the witness w.test/1 has cosigned 2 entries") && said.contains("Restore"),
        "{said}"
    );
    assert_eq!(fs::read(old.join("ledger/signed_head")).unwrap(), head, "nothing was signed");
    // The same for a ledger that was begun anew under the old key, without the signed head.
    let anew = parent.path().join("anew");
    known_ledger(&anew);
    fs::copy(data.join("ledger/key"), anew.join("ledger/key")).unwrap();
    fs::write(anew.join("ledger/signed_head"), b"").unwrap();
    let said = refused(&anew, &arguments);
    assert!(said.contains("has cosigned 2 entries of this ledger, and here are 0"), "{said}");

    // The copy is started without its witnesses, goes on, and gets them back: with as many entries, and with more.
    let node = Program::serve(&old, &[]);
    register(&node, "88.118/Other");
    assert_eq!(node.stop("INT"), Some(0));
    let said = refused(&old, &arguments);
    assert!(said.contains("has cosigned another history of this ledger"), "{said}");
    let node = Program::serve(&old, &[]);
    register(&node, "88.118/Another");
    assert_eq!(node.stop("INT"), Some(0));
    let said = refused(&old, &arguments);
    assert!(said.contains("has cosigned another history of this ledger"), "{said}");

    // The newest copy starts.
    let node = Program::serve(&data, &arguments);
    register(&node, "88.118/P2");
    wait_for(&witness, 3);
    assert_eq!(node.stop("INT"), Some(0));
}

/// A false witness, which sends the given reply to every request.
fn impostor() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let reply = Arc::new(Mutex::new(String::new()));
    let said = Arc::clone(&reply);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 8 << 10]);
            let _ = connection.write_all(said.lock().unwrap().as_bytes());
        }
    });
    (address, reply)
}

/// A witness that never replies. The number is that of its open connection, or 0.
fn silent() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let open = Arc::<AtomicU64>::default();
    let seen = Arc::clone(&open);
    std::thread::spawn(move || {
        for (number, connection) in (1..).zip(listener.incoming()) {
            open.store(number, Ordering::SeqCst);
            let _ = connection.unwrap().read_to_end(&mut Vec::new());
            open.store(0, Ordering::SeqCst);
        }
    });
    (address, seen)
}

/// A checkpoint is published with the cosignatures of the others while a silent witness is still being asked.
#[test]
fn a_silent_witness_delays_nothing() {
    let (data, directory) = (directory(), directory());
    let key = known_ledger(data.path());
    let witness = WitnessProgram::start(directory.path(), "127.0.0.1:0", &[&key]);
    let (address, open) = silent();
    let other = CosignerKey::new("s.test", [3; 32]).unwrap();
    let other = format!("{} http://{address}", other.verifier());
    let node = Program::serve(data.path(), &["--witness", &witness.argument(), "--witness", &other]);
    let mut entries = 0;
    wait_until("a checkpoint is cosigned while the silent witness is being asked", || {
        let connection = open.load(Ordering::SeqCst);
        if connection == 0 {
            return false;
        }
        register(&node, &format!("88.118/P{entries}"));
        entries += 1;
        while open.load(Ordering::SeqCst) == connection {
            let (_, _, newest) = reply(agent().get(format!("http://{}/log/checkpoint", node.http)).call());
            let is_new = newest.lines().nth(1) == Some(&entries.to_string());
            if is_new && newest.contains("\u{2014} w.test/1 ") {
                return open.load(Ordering::SeqCst) == connection;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        false
    });
    assert_eq!(node.stop("INT"), Some(0));
}

#[test]
fn the_word_of_a_witness_stops_no_ledger() {
    let data = directory();
    known_ledger(data.path());
    let (address, reply) = impostor();
    let key = CosignerKey::new("w.test/1", [3; 32]).unwrap();
    let node = Program::serve(data.path(), &["--witness", &format!("{} http://{address}", key.verifier())]);
    for (round, (status, body, says)) in [
        ("409 Conflict", "99\n", "has cosigned 99 entries of this ledger, and does not show it"),
        ("422 Unprocessable Content", "no\n", "has cosigned another history of this ledger, and does not show it"),
    ]
    .into_iter()
    .enumerate()
    {
        let length = body.len();
        *reply.lock().unwrap() =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        wait_until("the node hears it", || node.log().contains(says));
        register(&node, &format!("88.118/P{round}"));
    }
    assert!(!node.log().contains("no more writes are accepted"), "{}", node.log());
    assert_eq!(node.stop("INT"), Some(0));
    // At start the witness's word is enough for a refusal, which says that there is no other evidence.
    let said = refused(data.path(), &["--witness", &format!("{} http://{address}", key.verifier())]);
    assert!(said.contains("What stands behind it: its word alone"), "{said}");
}

#[test]
fn a_fork_that_is_found_later_stops_the_writes() {
    let (parent, directory) = (directory(), directory());
    let (data, old) = (parent.path().join("data"), parent.path().join("old"));
    let key = known_ledger(&data);
    let witness = WitnessProgram::start(directory.path(), "127.0.0.1:0", &[&key]);
    let argument = witness.argument();
    let arguments = ["--witness", argument.as_str()];
    copy(&data, &old);
    let node = Program::serve(&data, &arguments);
    (0..3).for_each(|number| register(&node, &format!("88.118/P{number}")));
    wait_for(&witness, 3);
    assert_eq!(node.stop("INT"), Some(0));
    // The witness is down when the old copy starts: a warning, or a refusal if the witness is required.
    let address = witness.kill();
    let config = file(&parent, "config", format!("witnesses = \"{argument}\"\nwitnesses_required = 1\n"));
    let said = refused(&old, &["--config", &config]);
    assert!(said.contains("0 of the witnesses answered, and `required` in [witnesses] is 1"), "{said}");
    let node = Program::serve(&old, &arguments);
    assert!(node.log().contains("could not be asked what it holds"), "{}", node.log());
    register(&node, "88.118/Other");
    let _witness = WitnessProgram::start(directory.path(), &address, &[&key]);
    wait_until("the node hears of it", || node.log().contains("no more writes are accepted"));
    let ran = node.run(&["register", "88.118/Third", "--value", "NAME=x"]);
    assert_eq!((ran.exit, ran.err.contains("has cosigned 3 entries of this ledger")), (9, true), "{ran:?}");
    assert_eq!(node.run(&["resolve", "88.118/Other"]).exit, 0, "reads go on");
}
