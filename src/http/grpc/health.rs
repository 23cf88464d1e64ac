//! gRPC's health service, for load balancers that speak it. It knows this member as a whole, under the
//! empty name: it serves while it knows a leader, is not about to stop, and was not found to hold other
//! data than its peers.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use tokio::time::{MissedTickBehavior, interval};

use super::codec::{Proto, frame};
use crate::{
    command::AlarmKind,
    http::{
        Doors,
        v3::{
            Answers,
            error::{Code, RpcError},
            pb::grpc::health::v1::{
                HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
            },
        },
    },
};

/// How often a watch looks.
const LOOK: Duration = Duration::from_millis(500);
const UNKNOWN: RpcError = RpcError::new(Code::NotFound, "unknown service");

fn status(doors: &Doors) -> ServingStatus {
    let state = doors.published.state.load();
    let corrupt = state.alarms().iter().any(|(_, kind)| *kind == AlarmKind::Corrupt);
    let draining = doors.published.draining.load(Ordering::Acquire);
    if corrupt || draining || doors.published.raft.leader().is_none() {
        ServingStatus::NotServing
    } else {
        ServingStatus::Serving
    }
}

fn response(status: ServingStatus) -> Bytes {
    frame(&HealthCheckResponse { status: status as i32 })
}

/// `Check`.
pub fn check(doors: &Doors, request: Bytes) -> Result<Bytes, RpcError> {
    let request: HealthCheckRequest = Proto { streamed: false }.read(request)?;
    if request.service.is_empty() { Ok(response(status(doors))) } else { Err(UNKNOWN) }
}

/// `Watch`: the status now, and each that differs from the last.
pub fn watch(doors: &Arc<Doors>, request: Bytes) -> Result<Answers<Bytes>, RpcError> {
    let request: HealthCheckRequest = Proto { streamed: false }.read(request)?;
    let doors = request.service.is_empty().then(|| Arc::clone(doors));
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let look = move |doors: &Option<Arc<Doors>>| {
        doors.as_deref().map_or(ServingStatus::ServiceUnknown, status)
    };
    Ok(Box::pin(stream::unfold((doors, looks, None), move |(doors, mut looks, last)| async move {
        loop {
            looks.tick().await;
            let now = look(&doors);
            if last != Some(now) {
                return Some((Ok(response(now)), (doors, looks, Some(now))));
            }
        }
    })))
}
