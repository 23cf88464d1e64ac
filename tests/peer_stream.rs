//! Streams between members over real sockets: in order, through breaks, and against everything that no
//! member sends. RaftNode is an actor that writes down what it gets.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use actix::{Actor, Context, Handler};
use bytes::Bytes;
use callboard::{
    actors::{
        lease_keeper::{self, Said},
        mailbox::{Gauge, Slot},
        peer::{
            Incoming, Network, Outgoing, WAITING_BYTES_MAX,
            peers::{Peers, PeersWiring},
            role::Pace,
        },
        raft_node::FromPeer,
        snapshotter::{
            receive::Reception,
            receiver::{self, ReceiverDoor},
        },
    },
    command::{Command, MemberChange, Proposal, ProposalId},
    http::{
        accept::Origin,
        drain::DrainSignal,
        peer::{PeerDoors, Refusals, Streams, server, snapshot::SnapshotDoors},
    },
    published::{Identity, Published},
    storage::{
        disk::Disk,
        mvcc::{Member, Membership, State},
        sim_disk::SimDisk,
        snapshot::SnapshotDir,
    },
    tls::Dialer,
    types::{ClusterId, Index, LeaseId, MemberId, Term, UnixNanos},
    wire::{
        self, Forward, Hello, LeaseAnswers, LeaseQuestion, LeaseQuestions, LeaseStanding,
        PeerFrame, Standing, hello::PROTOCOL,
    },
};
use raft::eraftpb::{Entry, Message, MessageType};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(10);
const CLUSTER: ClusterId = ClusterId(0xc1);
const PACE: Pace = Pace {
    retry_min: Duration::from_millis(10),
    retry_max: Duration::from_millis(100),
    ping_every: Duration::from_millis(50),
    silence_max: Duration::from_secs(2),
};

/// In place of RaftNode. It keeps the slots of the first parcels if it is told to be slow.
struct Recorder {
    got: UnboundedSender<(MemberId, Incoming)>,
    keeps: bool,
    kept: Vec<Slot>,
}

impl Actor for Recorder {
    type Context = Context<Self>;
}

impl Handler<FromPeer> for Recorder {
    type Result = ();

    fn handle(&mut self, FromPeer { from, what, slot }: FromPeer, _: &mut Context<Self>) {
        if self.keeps {
            self.kept.push(slot);
        }
        _ = self.got.send((from, what)); // or the test is over
    }
}

/// In place of LeaseKeeper: answers the questions of peers, by way of a channel, that each lease is gone.
struct Leases(UnboundedSender<(MemberId, Outgoing)>);

impl Actor for Leases {
    type Context = Context<Self>;
}

impl Handler<lease_keeper::FromPeer> for Leases {
    type Result = ();

    fn handle(&mut self, said: lease_keeper::FromPeer, _: &mut Context<Self>) {
        let what = match said.what {
            Said::Questions(LeaseQuestions { number, questions }) => {
                let answers = vec![LeaseStanding::Gone; questions.len()];
                Outgoing::LeaseAnswers(LeaseAnswers { number, answers })
            }
            Said::Answers(answers) => Outgoing::LeaseAnswers(answers),
        };
        _ = self.0.send((said.from, what)); // or the test is over
    }
}

/// A member's peer port and its peers.
struct Node {
    id: MemberId,
    published: Arc<Published>,
    doors: Arc<PeerDoors>,
    address: SocketAddr,
    got: UnboundedReceiver<(MemberId, Incoming)>,
    leases: UnboundedReceiver<(MemberId, Outgoing)>,
    peers: Peers,
    /// Of what waits for the peers' tasks.
    gauge: Arc<Gauge>,
    told: UnboundedReceiver<MemberId>,
    removed: UnboundedReceiver<MemberId>,
    /// Of snapshots that are to be sent: resolved once they are no longer wanted.
    transfers: Arc<Mutex<Vec<oneshot::Receiver<()>>>>,
}

fn listener(address: Option<SocketAddr>) -> TcpListener {
    TcpListener::bind(address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap())).unwrap()
}

fn members(of: &[(u64, SocketAddr)]) -> Vec<Member> {
    let member = |&(id, address): &(u64, SocketAddr)| Member {
        id: MemberId(id),
        name: format!("n{id}"),
        peer_urls: vec![format!("http://{address}")],
        client_urls: Vec::new(),
        learner: false,
    };
    of.iter().map(member).collect()
}

fn node(
    id: u64,
    listener: TcpListener,
    of: &[(u64, SocketAddr)],
    gone: &[u64],
    slots: usize,
) -> Node {
    let address = listener.local_addr().unwrap();
    let identity =
        Identity { cluster_id: CLUSTER, member_id: MemberId(id), name: format!("n{id}") };
    let published = Published::new(identity, state(of, gone));
    // With a leader a member is not behind: it takes no strangers for members that it has not heard of.
    published.raft.leader.store(1, std::sync::atomic::Ordering::Release);
    let (sender, got) = unbounded_channel();
    let (to_leases, leases) = unbounded_channel();
    let recorder = Recorder { got: sender, keeps: slots < 100, kept: Vec::new() }.start();
    let doors = Arc::new(PeerDoors {
        published: Arc::clone(&published),
        inbox: recorder.recipient(),
        leases: Leases(to_leases).start().recipient(),
        gauge: Gauge::new("peer-inbox", slots),
        payload_max: 4 << 20,
        idle_timeout: Duration::from_secs(5),
        snapshot: SnapshotDoors {
            published: Arc::clone(&published),
            receiver: receiver(),
            standing: Box::new(|_| Standing::Unknown),
        },
        contact: Box::new(|_, _| {}),
        origin: Origin::Any,
        drain: DrainSignal::default(),
        streams: Streams::default(),
        refusals: Refusals::default(),
    });
    server::serve(&doors, callboard::http::server::Listening::plain(listener)).unwrap();
    let (unreachable, told) = unbounded_channel();
    let (refused, removed) = unbounded_channel();
    let transfers: Arc<Mutex<Vec<_>>> = Arc::default();
    let gauge = Gauge::of_bytes("peer", 4096, WAITING_BYTES_MAX);
    let peers = Peers::new(PeersWiring {
        arbiter: actix::Arbiter::current(),
        published: Arc::clone(&published),
        gauge: Arc::clone(&gauge),
        pace: PACE,
        dialer: Dialer::of_the_system(),
        seed: id,
        unreachable: Arc::new(move |id| _ = unreachable.send(id)),
        refused_as_removed: Arc::new(move |id| _ = refused.send(id)),
        send_snapshot: {
            let kept = Arc::clone(&transfers);
            Box::new(move |_, _, _, wanted| kept.lock().unwrap().push(wanted))
        },
    });
    Node {
        id: MemberId(id),
        published,
        doors,
        address,
        got,
        leases,
        peers,
        gauge,
        told,
        removed,
        transfers,
    }
}

/// A state in which these were members once.
fn state(of: &[(u64, SocketAddr)], gone: &[u64]) -> State {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let all: Vec<_> = of.iter().copied().chain(gone.iter().map(|&id| (id, nowhere))).collect();
    let mut state = State::new(members(&all));
    for (at, &id) in gone.iter().enumerate() {
        let proposal = Proposal {
            id: ProposalId(1),
            member: MemberId(2),
            time: UnixNanos(1),
            command: Command::Members(MemberChange::Remove { id: MemberId(id) }),
        };
        state.apply(Index(at as u64 + 1), Term(1), Some(&proposal));
    }
    state
}

fn heartbeat(from: u64, to: u64, number: u64) -> Message {
    let mut message = Message { from, to, term: 5, commit: number, ..Message::default() };
    message.set_msg_type(MessageType::MsgHeartbeat);
    message
}

fn append(from: u64, to: u64, bytes: usize) -> Message {
    let mut message = Message { from, to, term: 5, index: 1, log_term: 1, ..Message::default() };
    message.set_msg_type(MessageType::MsgAppend);
    let entry = Entry { term: 5, index: 2, data: vec![7; bytes].into(), ..Entry::default() };
    message.entries = vec![entry].into();
    message
}

/// Waits until the peer answers, by the published figures.
async fn active(node: &Node, peer: u64) {
    let wait = async {
        loop {
            let peers = node.published.peers.load_full();
            if peers.get(&MemberId(peer)).is_some_and(|peer| peer.active_since().is_some()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await; // figures wake nobody
        }
    };
    timeout(PATIENCE, wait).await.expect("the peer answers");
}

fn pair(slots: usize) -> (Node, Node) {
    let (a, b) = (listener(None), listener(None));
    let of = [(1, a.local_addr().unwrap()), (2, b.local_addr().unwrap())];
    let mut a = node(1, a, &of, &[], slots);
    let mut b = node(2, b, &of, &[], slots);
    a.peers.members(&Membership::new(members(&of)));
    b.peers.members(&Membership::new(members(&of)));
    (a, b)
}

async fn raft_messages(node: &mut Node) -> Vec<Message> {
    match timeout(PATIENCE, node.got.recv()).await.expect("something comes").unwrap() {
        (_, Incoming::Raft(messages)) => messages,
        other => panic!("{other:?}"),
    }
}

#[actix_rt::test]
async fn tens_of_thousands_of_messages_arrive_in_order_both_ways() {
    const TURNS: u64 = 20_000;
    let (mut a, mut b) = pair(4096);
    active(&a, 2).await;
    active(&b, 1).await;
    let mut next = [0, 0];
    for turn in 0..TURNS {
        let two = |from, to| vec![heartbeat(from, to, 2 * turn), heartbeat(from, to, 2 * turn + 1)];
        a.peers.send(MemberId(2), Outgoing::Raft(two(1, 2)));
        b.peers.send(MemberId(1), Outgoing::Raft(two(2, 1)));
        if turn % 100 == 99 {
            for (at, node) in [&mut a, &mut b].into_iter().enumerate() {
                while next[at] < 2 * turn + 2 {
                    for message in raft_messages(node).await {
                        assert_eq!(message.commit, next[at]);
                        next[at] += 1;
                    }
                }
            }
        }
    }
    assert_eq!(next, [2 * TURNS; 2]);
    let figures = a.published.peers.load_full()[&MemberId(2)].clone();
    assert_eq!(figures.sent_failures.load(Ordering::Relaxed), 0);
    assert!(figures.round_trips().count >= 1);
    assert!(figures.sent_bytes.load(Ordering::Relaxed) > 2 * TURNS);
    assert!(figures.received_bytes.load(Ordering::Relaxed) > 2 * TURNS);
}

#[actix_rt::test]
async fn questions_about_leases_and_their_answers_find_their_way() {
    let (mut a, mut b) = pair(4096);
    active(&a, 2).await;
    active(&b, 1).await;
    let questions = vec![LeaseQuestion::Renew(LeaseId(7)), LeaseQuestion::TimeToLive(LeaseId(-8))];
    let questions = LeaseQuestions { number: 9, questions };
    a.peers.send(MemberId(2), Outgoing::LeaseQuestions(questions));
    let (from, answers) = timeout(PATIENCE, b.leases.recv()).await.unwrap().unwrap();
    assert_eq!(from, MemberId(1));
    b.peers.send(MemberId(1), answers);
    let (from, answers) = timeout(PATIENCE, a.leases.recv()).await.unwrap().unwrap();
    let Outgoing::LeaseAnswers(answers) = answers else { panic!("{answers:?}") };
    let expected = LeaseAnswers { number: 9, answers: vec![LeaseStanding::Gone; 2] };
    assert_eq!((from, answers), (MemberId(2), expected));
}

#[actix_rt::test]
async fn a_peer_that_comes_back_is_found_again() {
    let (mut a, b) = pair(4096);
    active(&a, 2).await;
    let address = b.address;
    let Node { doors, peers, .. } = b;
    drop(peers);
    doors.drain.give();
    assert_eq!(timeout(PATIENCE, a.told.recv()).await.unwrap(), Some(MemberId(2)));
    a.peers.send(MemberId(2), Outgoing::Raft(vec![heartbeat(1, 2, 1)])); // lost, without a wait
    let of = [(1, a.address), (2, address)];
    let again = loop {
        match TcpListener::bind(address) {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await, // the old one is closing
        }
    };
    let mut b = node(2, again, &of, &[], 4096);
    active(&a, 2).await;
    a.peers.send(MemberId(2), Outgoing::Raft(vec![heartbeat(1, 2, 7)]));
    assert_eq!(raft_messages(&mut b).await[0].commit, 7);
}

/// Knocks by hand; gives the head and what came with it, and the socket.
async fn knock(address: SocketAddr, hello: &Hello) -> (String, TcpStream) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let mut head = String::from(
        "GET /raft/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: callboard-peer\r\n",
    );
    for (name, value) in hello.headers() {
        head.extend([name, ": ", &value, "\r\n"]);
    }
    tcp.write_all((head + "\r\n").as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = timeout(PATIENCE, tcp.read_buf(&mut read)).await.unwrap().unwrap();
        assert_ne!(count, 0, "closed");
    }
    (String::from_utf8_lossy(&read).into_owned(), tcp)
}

fn hello(from: u64, to: u64) -> Hello {
    Hello {
        cluster: CLUSTER,
        from: MemberId(from),
        to: MemberId(to),
        protocol: PROTOCOL,
        server_version: "0".to_owned(),
        peer_urls: Vec::new(),
    }
}

#[actix_rt::test]
async fn who_is_no_member_is_refused() {
    let own = listener(None);
    let of = [(1, "127.0.0.1:1".parse().unwrap()), (2, own.local_addr().unwrap())];
    let node = node(2, own, &of, &[9], 4096);
    for (hello, status) in [
        (hello(1, 2), 101),
        (Hello { cluster: ClusterId(7), ..hello(1, 2) }, 412),
        (hello(1, 3), 412),
        (Hello { protocol: 99, ..hello(1, 2) }, 412),
        (hello(5, 2), 403),
        (hello(2, 2), 403),
        (hello(9, 2), 410),
    ] {
        let (head, _tcp) = knock(node.address, &hello).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{hello:?}: {head}");
    }
    assert_eq!(node.id, MemberId(2));
}

#[actix_rt::test]
async fn a_removed_member_is_told_so() {
    let (a, b) = (listener(None), listener(None));
    let of = [(1, a.local_addr().unwrap()), (2, b.local_addr().unwrap())];
    let mut a = node(1, a, &of, &[], 4096);
    let _b = node(2, b, &of[1..], &[1], 4096);
    a.peers.members(&Membership::new(members(&of)));
    assert_eq!(timeout(PATIENCE, a.removed.recv()).await.unwrap(), Some(MemberId(2)));
}

#[actix_rt::test]
async fn bad_bytes_end_their_stream_and_no_other() {
    let of = [(1, "127.0.0.1:1".parse().unwrap()), (3, "127.0.0.1:2".parse().unwrap())];
    let own = listener(None);
    let all = [of[0], (2, own.local_addr().unwrap()), of[1]];
    let mut node = node(2, own, &all, &[], 4096);
    let (_, mut other) = knock(node.address, &hello(3, 2)).await;
    let frame = |message: Message| {
        let mut out = Vec::new();
        wire::encode_raft(&[message], &mut out);
        out
    };
    let mut huge = frame(heartbeat(1, 2, 1));
    huge[..4].copy_from_slice(&[0xff; 4]);
    let mut flipped = frame(heartbeat(1, 2, 1));
    *flipped.last_mut().unwrap() ^= 1;
    let mut propose = heartbeat(1, 2, 1);
    propose.set_msg_type(MessageType::MsgPropose);
    let mut pong = Vec::new();
    wire::encode(&PeerFrame::Pong { nonce: 1 }, &mut pong);
    for (what, bytes) in [
        ("garbage", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n and so on and on".to_vec()),
        ("huge length", huge),
        ("flipped bit", flipped),
        ("of another member", frame(heartbeat(3, 2, 1))),
        ("to another member", frame(heartbeat(1, 3, 1))),
        ("a proposal of the crate's", frame(propose)),
        ("an answer to nothing", pong),
    ] {
        let (head, mut tcp) = knock(node.address, &hello(1, 2)).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{what}: {head}");
        tcp.write_all(&bytes).await.unwrap();
        let closed = timeout(PATIENCE, tcp.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "{what}: not closed");
    }
    // Half a frame, and then nothing more.
    let (_, mut half) = knock(node.address, &hello(1, 2)).await;
    half.write_all(&frame(heartbeat(1, 2, 1))[..9]).await.unwrap();
    half.shutdown().await.unwrap();
    assert!(timeout(PATIENCE, half.read_to_end(&mut Vec::new())).await.is_ok());
    other.write_all(&frame(heartbeat(3, 2, 42))).await.unwrap();
    let (from, what) = timeout(PATIENCE, node.got.recv()).await.unwrap().unwrap();
    assert!(matches!(&what, Incoming::Raft(m) if m[0].commit == 42), "{what:?}");
    assert_eq!(from, MemberId(3));
}

#[actix_rt::test]
async fn a_new_stream_ends_the_one_before() {
    let (mut a, b) = pair(4096);
    active(&a, 2).await;
    let (_, mut second) = knock(b.address, &hello(1, 2)).await;
    assert_eq!(timeout(PATIENCE, a.told.recv()).await.unwrap(), Some(MemberId(2)));
    // The first dials again, and now the second is the one before.
    assert!(timeout(PATIENCE, second.read_to_end(&mut Vec::new())).await.is_ok());
    active(&a, 2).await;
}

#[actix_rt::test]
async fn a_full_inbox_drops_and_goes_on_reading() {
    let (mut a, b) = pair(3); // the recorder never gives a slot back
    active(&a, 2).await;
    let trips = || a.published.peers.load_full()[&MemberId(2)].round_trips().count;
    let before = trips();
    for number in 0..1000 {
        a.peers.send(MemberId(2), Outgoing::Raft(vec![heartbeat(1, 2, number)]));
        tokio::task::yield_now().await;
    }
    a.peers.send(MemberId(2), Outgoing::Forward(Forward { term: Term(5), ..Forward::default() }));
    let answered = async {
        while trips() < before + 2 {
            tokio::time::sleep(Duration::from_millis(5)).await; // figures wake nobody
        }
    };
    timeout(PATIENCE, answered).await.expect("pings are answered behind what was dropped");
    assert_eq!(b.doors.gauge.depth(), 3);
    assert!(b.doors.gauge.rejected() > 0);
}

#[actix_rt::test]
async fn a_peer_that_does_not_read_stalls_nobody() {
    // It shakes hands and then reads no more.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener(None);
    let of = [(1, own.local_addr().unwrap()), (2, deaf.local_addr().unwrap())];
    let mut a = node(1, own, &of, &[], 4096);
    a.peers.members(&Membership::new(members(&of)));
    let (mut tcp, _) = timeout(PATIENCE, deaf.accept()).await.unwrap().unwrap();
    let mut head = vec![0; 4096];
    assert_ne!(tcp.read(&mut head).await.unwrap(), 0);
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: callboard-peer\r\n\r\n";
    tcp.write_all(answer).await.unwrap();
    let mut ping = [0; 1];
    tcp.read_exact(&mut ping).await.unwrap(); // it is connected
    while a.told.try_recv().is_ok() {} // of what was lost before
    // Far more than sockets and the write buffer hold.
    for _ in 0..200 {
        a.peers.send(MemberId(2), Outgoing::Raft(vec![append(1, 2, 1 << 20)]));
        tokio::task::yield_now().await;
    }
    assert_eq!(timeout(PATIENCE, a.told.recv()).await.unwrap(), Some(MemberId(2)));
    let figures = a.published.peers.load_full()[&MemberId(2)].clone();
    assert!(figures.sent_failures.load(Ordering::Relaxed) > 0);
    // It is given up in the end, and dialled anew.
    timeout(PATIENCE, deaf.accept()).await.expect("dialled anew").unwrap();
}

#[actix_rt::test]
async fn the_pages_of_the_peer_port() {
    let own = listener(None);
    let node = node(2, own, &[(2, "127.0.0.1:1".parse().unwrap())], &[], 4096);
    for (path, status, part) in [
        ("/version", 200, "etcdserver"),
        ("/members", 200, r#"[{"id":2,"peerURLs":["http://127.0.0.1:1"],"name":"n2"}]"#),
        ("/raft/probing", 200, r#"{"Health":true,"Now":""#),
        ("/raft/snapshot", 404, "404 page not found"),
        ("/v2/keys", 404, "404 page not found"),
        ("/raft/stream", 426, "callboard-peer"),
    ] {
        let mut tcp = TcpStream::connect(node.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, tcp.read_to_end(&mut answer)).await.unwrap().unwrap();
        let answer = Bytes::from(answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.contains(part), "{path}: {answer}");
        if path == "/members" {
            assert!(answer.to_lowercase().contains("x-etcd-cluster-id: c1\r\n"), "{answer}");
        }
    }
}

/// Where snapshots would go; nobody sends any here.
fn receiver() -> ReceiverDoor {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let wiring = receiver::Wiring {
        reception: Reception::new(SnapshotDir::new(disk, Path::new("/snap")), CLUSTER),
        applied: Box::new(|| Index(0)),
        arrived: Box::new(|_, _| {}),
    };
    receiver::spawn(wiring).unwrap().0
}

/// A server that happens to listen where a peer is expected, and says "gone" to everything, is none that
/// could end a member.
#[actix_rt::test]
async fn a_stranger_s_gone_is_not_a_peer_s() {
    let stranger = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener(None);
    let of = [(1, own.local_addr().unwrap()), (2, stranger.local_addr().unwrap())];
    let mut a = node(1, own, &of, &[], 4096);
    a.peers.members(&Membership::new(members(&of)));
    let mut asked = 0;
    while asked < 3 {
        let (mut tcp, _) = timeout(PATIENCE, stranger.accept()).await.unwrap().unwrap();
        _ = tcp.read(&mut [0; 4096]).await;
        _ = tcp.write_all(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n").await;
        asked += 1; // it asks again: the answers before did not end it
    }
    assert!(a.removed.try_recv().is_err());
}

#[actix_rt::test]
async fn a_snapshot_is_not_wanted_any_more_when_its_peer_is_removed() {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let of = [(1, nowhere), (2, nowhere), (3, nowhere)];
    let mut a = node(1, listener(None), &of, &[], 4096);
    a.peers.members(&Membership::new(members(&of)));
    for to in [2, 3] {
        a.peers.send(MemberId(to), Outgoing::Snapshot(append(1, to, 0)));
    }
    let mut transfers = std::mem::take(&mut *a.transfers.lock().unwrap());
    a.peers.members(&Membership::new(members(&of[..2])));
    let wanted = transfers.iter_mut().map(|t| t.try_recv().unwrap_err());
    let (empty, closed) =
        (oneshot::error::TryRecvError::Empty, oneshot::error::TryRecvError::Closed);
    assert_eq!(wanted.collect::<Vec<_>>(), [empty, closed]);
}

/// Beyond so many bytes Raft's messages are dropped, as where there are too many.
#[actix_rt::test]
async fn parcels_that_wait_are_bounded_in_bytes() {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let of = [(1, nowhere), (2, nowhere)];
    let mut a = node(1, listener(None), &of, &[], 4096);
    a.peers.members(&Membership::new(members(&of)));
    // As long as nothing is awaited here, the peer's task takes nothing up.
    let megabytes = WAITING_BYTES_MAX >> 20;
    for sent in 0..2 * megabytes {
        a.peers.send(MemberId(2), Outgoing::Raft(vec![append(1, 2, 1 << 20)]));
        let waiting = a.gauge.bytes().unwrap();
        assert!(waiting <= WAITING_BYTES_MAX && a.gauge.depth() <= sent + 1);
    }
    assert!(a.gauge.depth() < megabytes && a.gauge.depth() > megabytes - 2, "{:?}", a.gauge);
    let told = timeout(PATIENCE, a.told.recv()).await.unwrap();
    assert_eq!(told, Some(MemberId(2)), "RaftNode is told that something was dropped");
}
