//! Work that would keep others waiting: a large listing, a long look into the past, a long message to
//! encode. It is done on a thread of its own, for connections live on threads that actors share.

use tokio::sync::Semaphore;

/// At most so much of it is done at once: a flood of it must leave the actors, the log and everyone else's
/// requests their share of the machine. More waits, and goes when its client goes.
const ASIDE_MAX: usize = 4;
static ASIDE: Semaphore = Semaphore::const_new(ASIDE_MAX);

/// Does `work` on a thread of its own; none if the runtime ends before.
pub async fn aside<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let turn = ASIDE.acquire().await.ok()?;
    let working = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(turn); // not before: the work goes on when nobody waits for it any more
        result
    });
    working.await.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[actix::test]
    async fn a_flood_of_work_takes_few_threads() {
        static NOW: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let work = || {
            MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            (0..1000).for_each(|_| std::thread::yield_now());
            NOW.fetch_sub(1, Ordering::SeqCst);
        };
        let flood = (0..100).map(|_| aside(work));
        let done = futures_util::future::join_all(flood).await;
        assert!(done.iter().all(Option::is_some));
        assert!(MOST.load(Ordering::SeqCst) <= ASIDE_MAX);
    }
}
