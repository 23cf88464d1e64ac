//! Members and maintenance, of a cluster of one.

use etcd_client::{AlarmAction, AlarmType, Client};

use crate::{Outcome, refusal, same};

pub async fn members(client: &mut Client) -> Outcome {
    let list = client.member_list().await?;
    same!(list.members().len(), 1);
    let own = &list.members()[0];
    same!(
        (own.name().is_empty(), own.client_urls().is_empty(), own.is_learner()),
        (false, false, false)
    );
    same!(
        refusal(client.member_promote(own.id()).await),
        "FailedPrecondition: etcdserver: can only promote a learner member"
    );
    same!(
        refusal(client.member_remove(own.id() ^ 1).await),
        "NotFound: etcdserver: member not found"
    );
    same!(
        refusal(client.member_add([own.peer_urls()[0].clone()], None).await),
        "FailedPrecondition: etcdserver: Peer URLs already exists"
    );
    client.member_update(own.id(), own.peer_urls().to_vec()).await?;
    Ok(())
}

pub async fn maintenance(client: &mut Client) -> Outcome {
    let status = client.status().await?;
    same!(
        (status.leader() != 0, status.raft_index() > 0, status.raft_term() > 0),
        (true, true, true)
    );
    same!((status.db_size() > 0, status.version().is_empty()), (true, false));
    same!(client.alarm(AlarmAction::Get, AlarmType::None, None).await?.alarms().len(), 0);
    client.defragment().await?;
    let first = client.hash_kv(0).await?;
    let again = client.hash_kv(0).await?;
    same!(first.hash(), again.hash());
    client.hash().await?;
    same!(
        refusal(client.move_leader(12345).await),
        "FailedPrecondition: etcdserver: bad leader transferee"
    );
    Ok(())
}

pub async fn snapshot(client: &mut Client) -> Outcome {
    let mut stream = client.snapshot().await?;
    let (mut bytes, mut remaining) = (0, 1);
    while let Some(part) = stream.message().await? {
        bytes += part.blob().len();
        remaining = part.remaining_bytes();
    }
    same!((bytes > 32, remaining), (true, 0));
    Ok(())
}
