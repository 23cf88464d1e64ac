//! A stream of answers that is made by a future: the future puts them into a queue and is polled only
//! when that is empty. Both are one task, so an answer costs no wake-up on its way; and what is dropped
//! is dropped together.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures_util::Stream;

use crate::http::v3::{error::RpcError, pb::etcdserverpb::WatchResponse};

/// Answers that wait for the connection, before the future must wait for their going.
const ANSWERS_MAX: usize = 64;

type Answer = Result<WatchResponse, RpcError>;

/// The future's end of the queue.
#[derive(Clone, Default)]
pub struct Out(Rc<RefCell<VecDeque<Answer>>>);

impl Out {
    /// Puts an answer into the queue, and waits while that is full.
    pub async fn send(&self, answer: Answer) {
        self.0.borrow_mut().push_back(answer);
        // Needs no waker: the future is polled again when the queue is empty.
        let has_room = || self.0.borrow().len() < ANSWERS_MAX;
        poll_fn(|_| if has_room() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// The answers that `make`'s future sends, until it ends.
pub fn answers<F: Future<Output = ()>>(make: impl FnOnce(Out) -> F) -> impl Stream<Item = Answer> {
    let out = Out::default();
    Queue { making: Some(Box::pin(make(out.clone()))), out }
}

struct Queue<F> {
    making: Option<Pin<Box<F>>>,
    out: Out,
}

impl<F: Future<Output = ()>> Stream for Queue<F> {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        let waiting = self.out.0.borrow_mut().pop_front();
        if waiting.is_some() {
            return Poll::Ready(waiting);
        }
        if let Some(making) = &mut self.making
            && making.as_mut().poll(cx).is_ready()
        {
            self.making = None;
        }
        let made = self.out.0.borrow_mut().pop_front();
        match made {
            None if self.making.is_some() => Poll::Pending,
            made => Poll::Ready(made),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;
    use crate::http::v3::error::STOPPED;

    fn answer(watch_id: i64) -> WatchResponse {
        WatchResponse { watch_id, ..WatchResponse::default() }
    }

    #[actix::test]
    async fn answers_come_in_order_and_the_maker_waits_for_their_going() {
        let (made, looked) = (Rc::new(RefCell::new(0)), Rc::new(RefCell::new(0)));
        let making = Rc::clone(&made);
        let mut answers = Box::pin(answers(async move |out: Out| {
            for id in 0..1000 {
                out.send(Ok(answer(id))).await;
                *making.borrow_mut() = id;
                if id % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            out.send(Err(STOPPED)).await;
        }));
        while let Some(answer) = answers.next().await {
            let at = *looked.borrow();
            assert_eq!(answer.map(|answer| answer.watch_id).ok(), (at < 1000).then_some(at));
            *looked.borrow_mut() += 1;
            assert!(*made.borrow() - at <= ANSWERS_MAX as i64);
        }
        assert_eq!(*looked.borrow(), 1001);
    }
}
