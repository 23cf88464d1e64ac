//! Publishing this member: the cluster learns its name and where clients find it.

use std::{sync::Arc, time::Duration};

use actix::Addr;

use super::RunError;
use crate::{
    actors::{
        mailbox::{Gauge, Mailbox},
        raft_node::{Propose, ProposeError, host::RaftNode},
    },
    command::Command,
    config::Config,
    published::{Identity, Published},
};

/// Tells the cluster this member's name and client URLs, at each start: they may have changed. The member
/// is ready when this is applied, for then its log works from end to end.
pub(super) fn publish(
    config: &Config,
    published: &Published,
    raft_node: Addr<RaftNode>,
    gauge: &Arc<Gauge>,
) -> impl Future<Output = Result<(), RunError>> + use<> {
    const RETRY: Duration = Duration::from_millis(100);
    let Identity { member_id: id, ref name, .. } = published.identity;
    let client_urls: Vec<String> =
        config.advertise_client_urls.iter().map(|url| url.as_str().to_owned()).collect();
    let command = Command::PublishMember { id, name: name.clone(), client_urls };
    let mailbox = Mailbox::<Propose>::new(raft_node.recipient(), Arc::clone(gauge));
    async move {
        loop {
            let answer = match mailbox.ask(Propose(command.clone())) {
                Ok(answering) => answering.await.unwrap_or(Err(ProposeError::Stopping)),
                Err(_) => Err(ProposeError::TooManyRequests),
            };
            match answer {
                Ok(_) => return Ok(()),
                Err(ProposeError::Stopping) => {
                    return Err(RunError::Publish(ProposeError::Stopping));
                }
                Err(error) => {
                    tracing::debug!(%error, "publishing this member: tried again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}
