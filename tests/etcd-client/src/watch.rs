//! Watches.

use etcd_client::{Client, EventType, WatchFilterType, WatchOptions, WatchResponse, WatchStream};

use crate::{Outcome, PATIENCE, same};

async fn next(stream: &mut WatchStream) -> Result<WatchResponse, Box<dyn std::error::Error>> {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await?;
    Ok(message?.ok_or("the stream has ended")?)
}

/// The events of a response: kind, key, value, value before.
fn told(response: &WatchResponse) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let events = response.events().iter().map(|event| {
        let kv = event.kv();
        let kind = if event.event_type() == EventType::Put { "put" } else { "delete" };
        let (key, value) =
            kv.map_or_else(Default::default, |kv| (text(kv.key()), text(kv.value())));
        let before = event.prev_kv().map_or_else(|| "-".to_owned(), |kv| text(kv.value()));
        format!("{kind} {key} {value} {before}")
    });
    events.collect()
}

pub async fn live_and_past(client: &mut Client) -> Outcome {
    let first = client.put("w/a", "1", None).await?.header().ok_or("no header")?.revision();
    client.put("w/b", "2", None).await?;
    let options = WatchOptions::new().with_prefix().with_start_revision(first).with_prev_key();
    let mut stream = client.watch("w/", Some(options)).await?;
    let mut events = Vec::new();
    while events.len() < 2 {
        let response = next(&mut stream).await?;
        events.extend(told(&response));
    }
    same!(events, ["put w/a 1 -", "put w/b 2 -"]);
    client.put("w/a", "3", None).await?;
    same!(told(&next(&mut stream).await?), ["put w/a 3 1"]);
    client.delete("w/a", None).await?;
    same!(told(&next(&mut stream).await?), ["delete w/a  3"]);
    stream.request_progress().await?;
    let progress = next(&mut stream).await?;
    same!(
        (progress.events().len(), progress.header().map(|h| h.revision() >= first + 3)),
        (0, Some(true))
    );
    Ok(())
}

pub async fn many_on_one_stream(client: &mut Client) -> Outcome {
    let options = WatchOptions::new().with_watch_id(7).with_filters([WatchFilterType::NoPut]);
    let mut stream = client.watch("m/a", Some(options)).await?;
    stream.watch("m/b", Some(WatchOptions::new().with_watch_id(8))).await?;
    for id in [7, 8] {
        let created = next(&mut stream).await?;
        same!((created.created(), created.watch_id()), (true, id));
    }
    client.put("m/a", "1", None).await?; // filtered
    client.put("m/b", "2", None).await?;
    let response = next(&mut stream).await?;
    same!((response.watch_id(), told(&response)), (8, vec!["put m/b 2 -".to_owned()]));
    client.delete("m/a", None).await?;
    let response = next(&mut stream).await?;
    same!((response.watch_id(), told(&response)), (7, vec!["delete m/a  -".to_owned()]));
    stream.cancel(8).await?;
    let response = next(&mut stream).await?;
    same!((response.watch_id(), response.canceled()), (8, true));
    Ok(())
}

pub async fn compacted(client: &mut Client) -> Outcome {
    client.put("x/a", "1", None).await?;
    let revision = client.put("x/a", "2", None).await?.header().ok_or("no header")?.revision();
    client.compact(revision, None).await?;
    let options = WatchOptions::new().with_start_revision(revision - 1);
    let mut stream = client.watch("x/a", Some(options)).await?;
    same!(next(&mut stream).await?.created(), true);
    let canceled = next(&mut stream).await?;
    same!((canceled.canceled(), canceled.compact_revision()), (true, revision));
    Ok(())
}
