//! What the workers call for each request: no router, no middleware, one plain service. It knows on
//! which listener a request came in, and puts on the answer what all answers carry.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_http::Request;
use actix_web::dev::{Service, ServiceFactory, always_ready};

use super::{
    Doors,
    answer::Answer,
    cors::{self, Allowed, Cors},
    route::{self, Offer},
};

/// Makes the service of each worker for one listener.
#[derive(Clone)]
pub struct DoorFactory {
    doors: Arc<Doors>,
    cors: Cors,
    offer: Offer,
}

impl DoorFactory {
    /// For a listener that offers this.
    pub fn new(doors: Arc<Doors>, offer: Offer) -> DoorFactory {
        let cors = Cors::new(&doors.settings.cors);
        DoorFactory { doors, cors, offer }
    }
}

impl ServiceFactory<Request> for DoorFactory {
    type Response = Answer;
    type Error = Infallible;
    type Config = ();
    type Service = DoorService;
    type InitError = ();
    type Future = Ready<Result<DoorService, ()>>;

    fn new_service(&self, (): ()) -> Self::Future {
        crate::actors::mailbox::courier::start(); // runs on the worker's own thread
        let (doors, cors, offer) = (Arc::clone(&self.doors), self.cors.clone(), self.offer);
        ready(Ok(DoorService { doors, cors, offer }))
    }
}

/// Answers requests.
pub struct DoorService {
    doors: Arc<Doors>,
    cors: Cors,
    offer: Offer,
}

impl Service<Request> for DoorService {
    type Response = Answer;
    type Error = Infallible;
    type Future = Answering;

    always_ready!();

    fn call(&self, request: Request) -> Answering {
        let allowed = self.cors.allowed(request.head());
        match route::route(&self.doors, self.offer, request) {
            Routed::Now(mut answer) => {
                cors::allow(&mut answer, allowed);
                Answering::Now(Some(answer))
            }
            Routed::Later(future) => Answering::Later(future, allowed),
        }
    }
}

/// What a route gives: most reads are answered at once, without an allocation for a future.
pub enum Routed {
    /// The answer.
    Now(Answer),
    /// The answer, once a body is read or an actor has answered.
    Later(Pin<Box<dyn Future<Output = Answer>>>),
}

impl Routed {
    /// Later.
    pub fn later(future: impl Future<Output = Answer> + 'static) -> Routed {
        Routed::Later(Box::pin(future))
    }
}

/// An answer on its way, to be polled to its end once.
pub enum Answering {
    /// Here already.
    Now(Option<Answer>),
    /// To come, and the origin that it is to allow.
    Later(Pin<Box<dyn Future<Output = Answer>>>, Allowed),
}

impl Future for Answering {
    type Output = Result<Answer, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Answering::Now(answer) => {
                Poll::Ready(Ok(answer.take().expect("a future is not polled after its end")))
            }
            Answering::Later(future, allowed) => future.as_mut().poll(cx).map(|mut answer| {
                cors::allow(&mut answer, allowed.take());
                Ok(answer)
            }),
        }
    }
}
