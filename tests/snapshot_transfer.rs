//! A snapshot file of some tens of megabytes goes from one member to another over real sockets, through a
//! proxy that counts, cuts, and changes bytes.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callboard::actors::peer::snapshot_sender::{Pace, SnapshotSender, Wiring};
use callboard::actors::snapshotter::host::metadata_of;
use callboard::actors::snapshotter::{receive::Reception, receiver};
use callboard::command::{Command, Proposal, ProposalId, V2Command, V2Op, V2Write};
use callboard::http::peer::snapshot::{SnapshotDoors, answer};
use callboard::published::{Identity, Published};
use callboard::storage::disk::{Disk, RealDisk};
use callboard::storage::mvcc::{Member, State, codec};
use callboard::storage::snapshot::SnapshotDir;
use callboard::storage::state_file;
use callboard::tls::Dialer;
use callboard::types::{ClusterId, Index, MemberId, Term, UnixNanos};
use callboard::wire::Hello;
use callboard::wire::Standing;
use callboard::wire::hello::PROTOCOL;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use raft::eraftpb::{Message, MessageType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};

const CLUSTER: ClusterId = ClusterId(7);
const FROM: MemberId = MemberId(1);
const TO: MemberId = MemberId(2);
const SOCKET_BYTES: u32 = 64 << 10;

/// The state after so many writes of 64 KiB.
fn state(index: u64) -> State {
    let member = |id| Member {
        id,
        name: String::new(),
        peer_urls: Vec::new(),
        client_urls: Vec::new(),
        learner: false,
    };
    let mut state = State::new(vec![member(FROM), member(TO)]);
    for at in 1..=index {
        let write = V2Write { value: vec![at as u8; 64 << 10].into(), ..V2Write::default() };
        let command =
            Command::V2(V2Command { path: format!("/k{at}").into(), op: V2Op::Set(write) });
        let proposal = Proposal { id: ProposalId(at), member: FROM, time: UnixNanos(at), command };
        state.apply(Index(at), Term(2), Some(&proposal));
    }
    state
}

/// The two ends, in a directory each.
struct Ends {
    dir: tempfile::TempDir,
    sender: SnapshotSender,
    sent: mpsc::UnboundedReceiver<(MemberId, bool)>,
    arrived: mpsc::UnboundedReceiver<(Message, State)>,
    address: std::net::SocketAddr,
    published: Arc<Published>,
}

fn folder(dir: &tempfile::TempDir, name: &str) -> SnapshotDir {
    let path = dir.path().join(name);
    RealDisk.create_dir(&path).unwrap();
    SnapshotDir::new(Arc::new(RealDisk), &path)
}

/// Writes a snapshot where the sender finds it; answers its message and length.
fn take(dir: &tempfile::TempDir, state: &State, cluster: ClusterId) -> (Message, u64) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let meta = state_file::meta_of(state, cluster, FROM);
    let len = state_file::save(&disk, folder(dir, "from").path(), &meta, state).unwrap();
    let mut message = Message { from: FROM.0, to: TO.0, term: 3, ..Message::default() };
    message.set_msg_type(MessageType::MsgSnapshot);
    message.mut_snapshot().set_metadata(metadata_of(&meta));
    (message, len)
}

fn pace() -> Pace {
    Pace {
        pause: Duration::from_millis(10),
        silence: Duration::from_secs(5),
        deadline: Duration::from_secs(60),
        ..Pace::default()
    }
}

/// Must be called within a `LocalSet`.
fn ends(pace: Pace, standing: Standing, cluster: ClusterId) -> Ends {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity { cluster_id: CLUSTER, member_id: TO, name: String::new() };
    let published = Published::new(identity, state(0));
    let (arrive, arrived) = mpsc::unbounded_channel();
    let applied = Arc::clone(&published);
    let (receiver, _thread) = receiver::spawn(receiver::Wiring {
        reception: Reception::new(folder(&dir, "to"), CLUSTER),
        applied: Box::new(move || applied.state.load().applied_index),
        arrived: Box::new(move |message, state| arrive.send((message, state)).unwrap()),
    })
    .unwrap();
    let doors = Arc::new(SnapshotDoors {
        published: Arc::clone(&published),
        receiver,
        standing: Box::new(move |_| standing),
    });
    // What the sockets hold is lost with each cut: little, or a slow receiver looks like one that starts over.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SOCKET_BYTES).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(16).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let doors = Arc::clone(&doors);
            tokio::task::spawn_local(async move {
                let serve = service_fn(async |request| {
                    Ok::<_, std::convert::Infallible>(answer(&doors, request).await)
                });
                _ = http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
            });
        }
    });
    let (tell, sent) = mpsc::unbounded_channel();
    let hello = move |to| Hello {
        cluster,
        from: FROM,
        to,
        protocol: PROTOCOL,
        server_version: String::new(),
        peer_urls: Vec::new(),
    };
    let sender = SnapshotSender::new(Wiring {
        dir: folder(&dir, "from"),
        dialer: Dialer::of_the_system(),
        hello: Box::new(hello),
        sent: Box::new(move |to, arrived| _ = tell.send((to, arrived))),
        pace,
        bytes_read: AtomicU64::new(0),
    });
    Ends { dir, sender, sent, arrived, address, published }
}

/// What the proxy does to the n-th connection.
#[derive(Clone, Copy)]
enum Mischief {
    /// Ends it after so many bytes from the sender.
    Cut(u64),
    /// Changes the byte at this place.
    Flip(u64),
}

/// Passes bytes on, one piece of mischief for each connection that sends more than a question, while there
/// is some. Answers its URL and the count of bytes that came from the sender.
async fn proxy(to: std::net::SocketAddr, mischief: Vec<Mischief>) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let plan = Arc::new((AtomicUsize::new(0), mischief));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_send_buffer_size(SOCKET_BYTES).unwrap();
            let server = socket.connect(to).await.unwrap();
            tokio::spawn(pass(client, server, Arc::clone(&counted), Arc::clone(&plan)));
        }
    });
    (url, count)
}

async fn pass(
    client: TcpStream,
    server: TcpStream,
    count: Arc<AtomicU64>,
    plan: Arc<(AtomicUsize, Vec<Mischief>)>,
) {
    const QUESTION_MAX: u64 = 2000;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move {
        _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let (mut buffer, mut seen, mut own) = (vec![0; 16 << 10], 0, None);
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        if seen + read as u64 > QUESTION_MAX && own.is_none() {
            own = Some(plan.1.get(plan.0.fetch_add(1, Ordering::Relaxed)).copied());
        }
        let mut bytes = &mut buffer[..read];
        match own.flatten() {
            Some(Mischief::Cut(at)) if seen + read as u64 >= at => {
                bytes = &mut bytes[..at.saturating_sub(seen) as usize];
                count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                _ = to_server.write_all(bytes).await;
                back.abort();
                return;
            }
            Some(Mischief::Flip(at)) if (seen..seen + read as u64).contains(&at) => {
                bytes[(at - seen) as usize] ^= 1;
            }
            _ => {}
        }
        seen += read as u64;
        count.fetch_add(read as u64, Ordering::Relaxed);
        if to_server.write_all(bytes).await.is_err() {
            break;
        }
    }
    drop(to_server);
    _ = back.await;
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(120), test).await.expect("hangs");
    });
}

#[test]
fn interrupted_it_goes_on_and_does_not_start_over() {
    run(async {
        let mut ends = ends(pace(), Standing::Member, CLUSTER);
        let whole = state(500);
        let (message, len) = take(&ends.dir, &whole, CLUSTER);
        assert!(len > 30_000_000, "{len}");
        let cuts = [2500, 300_000, 5_000_000, 10_000_001, 1_000_000].map(Mischief::Cut);
        let (url, count) = proxy(ends.address, cuts.to_vec()).await;
        ends.sender.send(TO, vec![url], message.clone());
        // Retention removes the name while the file is sent: the open file is enough.
        while ends.sender.wiring().bytes_read.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let name = folder(&ends.dir, "from").list().unwrap()[0];
        RealDisk.remove(&name.path(folder(&ends.dir, "from").path())).unwrap();
        assert_eq!(ends.sent.recv().await, Some((TO, true)));
        let (told, state) = ends.arrived.recv().await.unwrap();
        assert_eq!(told, message);
        assert_eq!(codec::digest(&state), codec::digest(&whole));
        let names = folder(&ends.dir, "to").list().unwrap();
        assert_eq!(names.len(), 1);
        // Each cut costs less than what was on the way: a piece, and what sockets hold.
        let count = count.load(Ordering::Relaxed);
        let again = count - len;
        assert!(again < 5 * 1_000_000, "{again} bytes were sent again");
        assert!(ends.sent.try_recv().is_err(), "told once");
        // The one who has it applied is sent nothing.
        take(&ends.dir, &whole, CLUSTER);
        let (url, count) = proxy(ends.address, Vec::new()).await;
        ends.published.state.store(Arc::new(whole));
        ends.sender.send(TO, vec![url], message);
        assert_eq!(ends.sent.recv().await, Some((TO, true)));
        assert!(count.load(Ordering::Relaxed) < 2000);
        assert!(ends.arrived.try_recv().is_err());
    });
}

#[test]
fn a_changed_byte_is_refused_and_sent_again() {
    run(async {
        let mut ends = ends(pace(), Standing::Member, CLUSTER);
        let whole = state(100);
        let (message, len) = take(&ends.dir, &whole, CLUSTER);
        let (url, count) = proxy(ends.address, vec![Mischief::Flip(3_000_000)]).await;
        ends.sender.send(TO, vec![url], message);
        assert_eq!(ends.sent.recv().await, Some((TO, true)));
        let (_, state) = ends.arrived.recv().await.unwrap();
        assert_eq!(codec::digest(&state), codec::digest(&whole));
        assert!(count.load(Ordering::Relaxed) < len + 5_500_000, "what was good was kept");
    });
}

#[test]
fn who_is_wrong_is_refused() {
    run(async {
        let other = ClusterId(8);
        for (standing, said, file, to) in [
            (Standing::Member, other, CLUSTER, TO),
            (Standing::Member, CLUSTER, other, TO),
            (Standing::Member, CLUSTER, CLUSTER, MemberId(3)),
            (Standing::Unknown, CLUSTER, CLUSTER, TO),
            (Standing::Removed, CLUSTER, CLUSTER, TO),
        ] {
            let mut ends = ends(pace(), standing, said);
            let (message, _) = take(&ends.dir, &state(3), file);
            ends.sender.send(to, vec![format!("http://{}", ends.address)], message);
            assert_eq!(ends.sent.recv().await, Some((to, false)), "{standing:?} {said} {file}");
            assert!(ends.arrived.try_recv().is_err());
            let left = RealDisk.list(&ends.dir.path().join("to")).unwrap();
            assert_eq!(left, [""; 0]);
        }
    });
}

#[test]
fn a_file_that_is_gone_or_nobody_there_is_told_once() {
    run(async {
        let quick = Pace { attempts: 2, ..pace() };
        let mut ends = ends(quick, Standing::Member, CLUSTER);
        let (message, _) = take(&ends.dir, &state(3), CLUSTER);
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", nobody.local_addr().unwrap());
        drop(nobody);
        for (what, urls) in [("nobody", vec![url]), ("no URL", vec![])] {
            ends.sender.send(TO, urls, message.clone());
            assert_eq!(ends.sent.recv().await, Some((TO, false)), "{what}");
        }
        let mut gone = message;
        gone.mut_snapshot().mut_metadata().index = 4;
        ends.sender.send(TO, vec![format!("http://{}", ends.address)], gone);
        assert_eq!(ends.sent.recv().await, Some((TO, false)));
        assert!(ends.sent.try_recv().is_err());
    });
}

#[test]
fn of_several_at_once_one_gets_through_and_all_are_told() {
    run(async {
        let mut ends = ends(pace(), Standing::Member, CLUSTER);
        let (older, _) = take(&ends.dir, &state(50), CLUSTER);
        let whole = state(100);
        let (newer, _) = take(&ends.dir, &whole, CLUSTER);
        let url = vec![format!("http://{}", ends.address)];
        for message in [&older, &newer, &newer] {
            ends.sender.send(TO, url.clone(), message.clone());
        }
        let mut arrived = 0;
        for _ in 0..3 {
            arrived += usize::from(ends.sent.recv().await.unwrap().1);
        }
        assert!(arrived >= 1);
        let mut newest = 0;
        while let Ok((message, state)) = ends.arrived.try_recv() {
            newest = newest.max(state.applied_index.0);
            assert_eq!(message.get_snapshot().get_metadata().index, state.applied_index.0);
        }
        assert_eq!(newest, 100);
    });
}

/// A peer that says that it has nothing and then reads nothing; its URL and its connections.
async fn deaf() -> (String, Arc<Mutex<Vec<TcpStream>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4];
            stream.read_exact(&mut head).await.unwrap();
            if &head == b"GET " {
                let answer = "HTTP/1.1 200 OK\r\nx-callboard-snapshot-offset: 0\r\n\
                              content-length: 0\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            keep.lock().unwrap().push(stream);
        }
    });
    (url, kept)
}

#[test]
fn what_is_not_wanted_any_more_is_not_sent_to_its_end() {
    run(async {
        let mut ends = ends(pace(), Standing::Member, CLUSTER);
        let (message, _) = take(&ends.dir, &state(500), CLUSTER);
        let (url, kept) = deaf().await;
        let (held, wanted) = oneshot::channel();
        let sender = ends.sender.clone();
        let sending = tokio::spawn(async move {
            sender.send_while(TO, vec![url], message, wanted).await;
        });
        while kept.lock().unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await; // the second one carries the file
        }
        assert!(ends.sent.try_recv().is_err(), "it is under way");
        drop(held);
        // At once, and not when the peer's silence has lasted too long; and the peer sees it end.
        let told = tokio::time::timeout(pace().silence / 2, ends.sent.recv());
        assert_eq!(told.await.expect("at once"), Some((TO, false)));
        sending.await.unwrap();
        let mut stream = kept.lock().unwrap().pop().unwrap();
        let mut rest = Vec::new();
        _ = stream.read_to_end(&mut rest).await; // or it is reset
    });
}

/// A peer that says that it has nothing and then reads nothing: what is read of the file is what fits into
/// the sockets and the sender's few pieces, not the file.
#[test]
fn a_peer_that_does_not_read_costs_no_memory() {
    run(async {
        let impatient = Pace { attempts: 1, silence: Duration::from_secs(1), ..pace() };
        let mut ends = ends(impatient, Standing::Member, CLUSTER);
        let (message, len) = take(&ends.dir, &state(500), CLUSTER);
        let (url, kept) = deaf().await;
        ends.sender.send(TO, vec![url], message);
        assert_eq!(ends.sent.recv().await, Some((TO, false)));
        let read = ends.sender.wiring().bytes_read.load(Ordering::Relaxed);
        assert!(read > 0 && read < 12 << 20 && read < len, "{read} bytes of {len}");
        assert_eq!(kept.lock().unwrap().len(), 2);
        assert!(Path::new(ends.dir.path()).exists());
    });
}
