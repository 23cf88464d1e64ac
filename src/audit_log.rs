//! The audit log: a line of JSON for each change and each refusal, in a file of its own. Who did what, from
//! where, through which door, and how it ended; never a value, a password or a token.
//!
//! [`deed`] is what is told of a request, [`line`] how it is written, [`writer`] the thread that owns the
//! file. Doors hand over lines that are written already and never wait: the queue has bounds in lines and in
//! bytes, what does not fit is counted, and the file tells how many are missing. Knows no door and no actor.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, Sender, TrySendError};

pub mod deed;
pub mod line;
mod writer;

pub use deed::{Deed, Part};
pub use line::Event;

/// Lines that may wait for the writer.
const LINES_MAX: usize = 16_384;
/// Bytes of them.
const BYTES_MAX: usize = 16 << 20;

/// What the configuration says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// `--audit-log`.
    pub path: PathBuf,
    /// `--audit-log-max-bytes`: a file that would be longer is put away first.
    pub max_bytes: u64,
    /// `--audit-log-max-files`: so many that were put away are kept.
    pub max_files: u32,
}

/// What is counted of it.
#[derive(Debug, Default)]
pub struct AuditFigures {
    /// Lines that are in the file.
    pub written: AtomicU64,
    /// Lines that are not, for want of room in the queue or because writing failed.
    pub dropped: AtomicU64,
    /// Writes and changes of files that failed.
    pub errors: AtomicU64,
    /// Bytes that wait for the writer.
    waiting: AtomicUsize,
    /// Lines that are lost and not told in the file yet.
    untold: AtomicU64,
}

impl AuditFigures {
    fn lost(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
        self.untold.fetch_add(lines, Ordering::Relaxed);
    }
}

/// What goes to the writer.
enum Order {
    Line(Vec<u8>),
    Stop,
}

/// See the head of the module.
#[derive(Debug)]
pub struct AuditLog {
    queue: Sender<Order>,
    figures: Arc<AuditFigures>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl AuditLog {
    /// Opens the file, or makes it, and starts the thread that writes it.
    pub fn open(settings: &AuditSettings) -> io::Result<AuditLog> {
        let (log, orders) = AuditLog::unwritten(LINES_MAX);
        let mut writer = writer::Writer::open(settings.clone(), Arc::clone(&log.figures))?;
        let thread = std::thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(move || writer.run(&orders))?;
        *log.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(log)
    }

    /// One whose lines wait until somebody takes them.
    fn unwritten(lines_max: usize) -> (AuditLog, Receiver<Order>) {
        let (queue, orders) = crossbeam_channel::bounded(lines_max);
        let (figures, thread) = (Arc::default(), Mutex::default());
        (AuditLog { queue, figures, thread }, orders)
    }

    /// What was counted so far.
    pub fn figures(&self) -> &AuditFigures {
        &self.figures
    }

    /// Takes an event down. Never waits.
    pub fn record(&self, event: &Event<'_>) {
        let line = line::encode(event);
        let len = line.len();
        let waiting = &self.figures.waiting;
        if waiting.fetch_add(len, Ordering::Relaxed).saturating_add(len) > BYTES_MAX {
            waiting.fetch_sub(len, Ordering::Relaxed);
            return self.figures.lost(1);
        }
        match self.queue.try_send(Order::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                waiting.fetch_sub(len, Ordering::Relaxed);
                self.figures.lost(1);
            }
        }
    }

    /// Writes what waits, and ends the thread. Blocks until that is done.
    pub fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            _ = self.queue.send(Order::Stop); // or it has ended
            _ = thread.join(); // a panic in it has ended the process already
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dir: &std::path::Path, max_bytes: u64, max_files: u32) -> AuditSettings {
        AuditSettings { path: dir.join("audit.log"), max_bytes, max_files }
    }

    fn event(deed: &Deed) -> Event<'_> {
        Event { door: "v3", user: "ann", deed, result: "ok", ..Event::default() }
    }

    fn lines(path: &std::path::Path) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What does not fit is counted, the rest is written in order, and a line tells of the gap.
    #[test]
    fn a_full_queue_loses_lines_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (log, orders) = AuditLog::unwritten(4);
        for number in 0..10 {
            let deed = Deed::of("put").key(format!("k{number}").as_bytes());
            log.record(&event(&deed));
        }
        assert_eq!(log.figures.dropped.load(Ordering::Relaxed), 6);
        let settings = settings(dir.path(), 1 << 20, 1);
        let mut writer = writer::Writer::open(settings.clone(), Arc::clone(&log.figures)).unwrap();
        let figures = Arc::clone(&log.figures);
        drop(log);
        writer.run(&orders);
        let lines = lines(&settings.path);
        let keys: Vec<_> = lines.iter().filter_map(|line| line["key"].as_str()).collect();
        assert_eq!(keys, ["k0", "k1", "k2", "k3"]);
        let lost: Vec<_> = lines.iter().filter_map(|line| line["lost"].as_u64()).collect();
        assert_eq!(lost, [6], "{lines:?}");
        assert_eq!(figures.written.load(Ordering::Relaxed), 4);
        assert_eq!(figures.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn bytes_that_wait_are_bounded_too() {
        let (log, orders) = AuditLog::unwritten(1 << 20);
        let mut deed = Deed::of("txn");
        for _ in 0..deed::PARTS_MAX {
            deed.parts.push(Part::new("put", &[0xff; 1000], b""));
        }
        let len = line::encode(&event(&deed)).len();
        let many = BYTES_MAX / len + 10;
        (0..many).for_each(|_| log.record(&event(&deed)));
        let waiting: usize = orders.try_iter().filter(|o| matches!(o, Order::Line(_))).count();
        assert!(waiting * len <= BYTES_MAX && waiting > many - 20, "{waiting} of {many}");
        assert_eq!(log.figures.dropped.load(Ordering::Relaxed), (many - waiting) as u64);
    }

    #[test]
    fn files_are_put_away_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), 4096, 2);
        let log = AuditLog::open(&settings).unwrap();
        let deed = Deed::of("put").key(&[b'k'; 300]);
        (0..100).for_each(|_| log.record(&event(&deed)));
        log.close();
        assert_eq!(log.figures.dropped.load(Ordering::Relaxed), 0);
        assert_eq!(log.figures.written.load(Ordering::Relaxed), 100);
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["audit.log", "audit.log.1", "audit.log.2"]);
        for name in names {
            let path = dir.path().join(name);
            assert!(std::fs::metadata(&path).unwrap().len() <= 4096);
            assert!(!lines(&path).is_empty());
        }
        // A start goes on in the same file.
        let log = AuditLog::open(&settings).unwrap();
        let before = lines(&settings.path).len();
        log.record(&event(&Deed::of("put").key(b"k")));
        log.close();
        assert_eq!(lines(&settings.path).len(), before + 1);
    }

    /// What cannot be written is counted; the next that can begins a line of its own.
    #[test]
    fn a_write_that_fails_ends_nothing() {
        let full = AuditSettings { path: "/dev/full".into(), max_bytes: u64::MAX, max_files: 1 };
        let log = AuditLog::open(&full).unwrap();
        (0..5).for_each(|_| log.record(&event(&Deed::of("put").key(b"k"))));
        log.close();
        assert_eq!(log.figures.dropped.load(Ordering::Relaxed), 5);
        assert!(log.figures.errors.load(Ordering::Relaxed) >= 1);
        assert_eq!(log.figures.written.load(Ordering::Relaxed), 0);
        let nowhere = AuditSettings { path: "/nowhere/audit.log".into(), ..full };
        assert!(AuditLog::open(&nowhere).is_err());
    }
}
