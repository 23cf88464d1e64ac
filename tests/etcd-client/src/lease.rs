//! Leases.

use etcd_client::{
    Client, EventType, LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions, WatchOptions,
};

use crate::{Outcome, PATIENCE, refusal, same};

pub async fn life_of_a_lease(client: &mut Client) -> Outcome {
    let granted = client.lease_grant(60, Some(LeaseGrantOptions::new().with_id(1234))).await?;
    same!((granted.id(), granted.ttl(), granted.error()), (1234, 60, ""));
    same!(
        refusal(client.lease_grant(60, Some(LeaseGrantOptions::new().with_id(1234))).await),
        "FailedPrecondition: etcdserver: lease already exists"
    );
    let attach = || Some(PutOptions::new().with_lease(1234));
    client.put("l/a", "1", attach()).await?;
    client.put("l/b", "2", attach()).await?;
    let live =
        client.lease_time_to_live(1234, Some(LeaseTimeToLiveOptions::new().with_keys())).await?;
    same!((live.granted_ttl(), live.ttl() > 50, live.keys().len()), (60, true, 2));
    same!(client.leases().await?.leases().iter().any(|lease| lease.id() == 1234), true);
    client.lease_revoke(1234).await?;
    same!(client.get("l/a", None).await?.count(), 0);
    let gone = client.lease_time_to_live(1234, None).await?;
    same!((gone.id(), gone.ttl()), (1234, -1));
    let not_found = "NotFound: etcdserver: requested lease not found";
    same!(refusal(client.lease_revoke(1234).await), not_found);
    same!(refusal(client.put("l/a", "1", attach()).await), not_found);
    same!(client.lease_grant(1, None).await?.ttl(), 2); // the least that there is
    Ok(())
}

pub async fn keep_alive(client: &mut Client) -> Outcome {
    let id = client.lease_grant(30, None).await?.id();
    let (mut keeper, mut stream) = client.lease_keep_alive(id).await?;
    for _ in 0..3 {
        keeper.keep_alive().await?;
        let kept = tokio::time::timeout(PATIENCE, stream.message()).await??.ok_or("no answer")?;
        same!((kept.id(), kept.ttl()), (id, 30));
    }
    client.lease_revoke(id).await?;
    Ok(())
}

pub async fn expiry(client: &mut Client) -> Outcome {
    let id = client.lease_grant(2, None).await?.id();
    client.put("e/a", "1", Some(PutOptions::new().with_lease(id))).await?;
    client.put("e/b", "1", Some(PutOptions::new().with_lease(id))).await?;
    let mut stream = client.watch("e/", Some(WatchOptions::new().with_prefix())).await?;
    let mut next = async || tokio::time::timeout(PATIENCE, stream.message()).await;
    same!(next().await??.ok_or("no answer")?.created(), true);
    let response = next().await??.ok_or("no answer")?;
    let kinds: Vec<EventType> =
        response.events().iter().map(etcd_client::Event::event_type).collect();
    same!(kinds, [EventType::Delete, EventType::Delete]);
    Ok(())
}
