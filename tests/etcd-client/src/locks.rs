//! Locks and elections.

use etcd_client::{Client, LockOptions, ProclaimOptions, ResignOptions};

use crate::{Outcome, PATIENCE, same};

pub async fn lock(client: &mut Client) -> Outcome {
    let lease = client.lease_grant(60, None).await?.id();
    let held = client.lock("lock", Some(LockOptions::new().with_lease(lease))).await?;
    same!(held.key(), format!("lock/{lease:x}").as_bytes());
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.lock("lock", None).await });
    // The other's key is there, behind ours.
    let there = async {
        let options = || Some(etcd_client::GetOptions::new().with_prefix());
        while client.get("lock/", options()).await?.count() < 2 {
            tokio::task::yield_now().await;
        }
        Ok::<(), etcd_client::Error>(())
    };
    tokio::time::timeout(PATIENCE, there).await??;
    same!(waiting.is_finished(), false);
    client.unlock(held.key()).await?;
    let second = tokio::time::timeout(PATIENCE, waiting).await???;
    client.unlock(second.key()).await?;
    client.lease_revoke(lease).await?;
    Ok(())
}

pub async fn election(client: &mut Client) -> Outcome {
    let lease = client.lease_grant(60, None).await?.id();
    let won = client.campaign("election", "one", lease).await?;
    let leader = won.leader().ok_or("no leader")?.clone();
    same!((leader.name(), leader.lease()), (&b"election"[..], lease));
    let mut observed = client.observe("election").await?;
    let seen = tokio::time::timeout(PATIENCE, observed.message()).await??.ok_or("no answer")?;
    same!(seen.kv().map(|kv| kv.value().to_vec()), Some(b"one".to_vec()));
    let options = ProclaimOptions::new().with_leader(leader.clone());
    client.proclaim("two", Some(options)).await?;
    let seen = tokio::time::timeout(PATIENCE, observed.message()).await??.ok_or("no answer")?;
    same!(seen.kv().map(|kv| kv.value().to_vec()), Some(b"two".to_vec()));
    same!(
        client.leader("election").await?.kv().map(|kv| kv.value().to_vec()),
        Some(b"two".to_vec())
    );
    client.resign(Some(ResignOptions::new().with_leader(leader))).await?;
    same!(client.leader("election").await.is_err(), true);
    client.lease_revoke(lease).await?;
    Ok(())
}
