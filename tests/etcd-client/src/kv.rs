//! Keys and values.

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, SortOrder, SortTarget, Txn,
    TxnOp, TxnOpResponse,
};

use crate::{Outcome, refusal, same};

pub async fn put_and_get(client: &mut Client) -> Outcome {
    let first = client.put("kv/a", "1", None).await?;
    let revision = first.header().ok_or("no header")?.revision();
    let second = client.put("kv/a", "2", Some(PutOptions::new().with_prev_key())).await?;
    same!(second.header().map(etcd_client::ResponseHeader::revision), Some(revision + 1));
    same!(second.prev_key().map(|kv| kv.value().to_vec()), Some(b"1".to_vec()));
    let found = client.get("kv/a", None).await?;
    let kv = &found.kvs()[0];
    same!((kv.key(), kv.value(), kv.version()), (&b"kv/a"[..], &b"2"[..], 2));
    same!((kv.create_revision(), kv.mod_revision()), (revision, revision + 1));
    let past = client.get("kv/a", Some(GetOptions::new().with_revision(revision))).await?;
    same!(past.kvs()[0].value(), b"1");
    let local = client.get("kv/a", Some(GetOptions::new().with_serializable())).await?;
    same!(local.count(), 1);
    same!(client.get("kv/none", None).await?.count(), 0);
    same!(refusal(client.get("", None).await), "InvalidArgument: etcdserver: key is not provided");
    let future = GetOptions::new().with_revision(revision + 1000);
    same!(
        refusal(client.get("kv/a", Some(future)).await),
        "OutOfRange: etcdserver: mvcc: required revision is a future revision"
    );
    let kept = PutOptions::new().with_ignore_value();
    client.put("kv/a", "", Some(kept.clone())).await?;
    same!(client.get("kv/a", None).await?.kvs()[0].value(), b"2");
    same!(
        refusal(client.put("kv/none", "", Some(kept)).await),
        "InvalidArgument: etcdserver: key not found"
    );
    let large = vec![b'x'; 1_600_000];
    same!(
        refusal(client.put("kv/large", large, None).await),
        "InvalidArgument: etcdserver: request is too large"
    );
    Ok(())
}

pub async fn ranges(client: &mut Client) -> Outcome {
    for (key, value) in [("r/c", "1"), ("r/a", "3"), ("r/b", "2"), ("s", "x")] {
        client.put(key, value, None).await?;
    }
    client.put("r/b", "0", None).await?;
    let keys = |found: &etcd_client::GetResponse| {
        let keys = found.kvs().iter().map(|kv| String::from_utf8_lossy(kv.key()).into_owned());
        keys.collect::<Vec<_>>().join(" ")
    };
    for (options, expected, count, more) in [
        (GetOptions::new().with_prefix(), "r/a r/b r/c", 3, false),
        (GetOptions::new().with_prefix().with_limit(2), "r/a r/b", 3, true),
        (GetOptions::new().with_prefix().with_count_only(), "", 3, false),
        (GetOptions::new().with_range("r/c"), "r/a r/b", 2, false),
        (
            GetOptions::new().with_prefix().with_sort(SortTarget::Key, SortOrder::Descend),
            "r/c r/b r/a",
            3,
            false,
        ),
        (
            GetOptions::new().with_prefix().with_sort(SortTarget::Value, SortOrder::Ascend),
            "r/b r/c r/a",
            3,
            false,
        ),
        (
            GetOptions::new().with_prefix().with_sort(SortTarget::Version, SortOrder::Descend),
            "r/b r/a r/c",
            3,
            false,
        ),
        (
            GetOptions::new().with_prefix().with_sort(SortTarget::Create, SortOrder::Ascend),
            "r/c r/a r/b",
            3,
            false,
        ),
    ] {
        let start = if count == 2 { "r/a" } else { "r/" };
        let found = client.get(start, Some(options)).await?;
        same!((keys(&found).as_str(), found.count(), found.more()), (expected, count, more));
    }
    let found = client.get("r/", Some(GetOptions::new().with_prefix().with_keys_only())).await?;
    same!(found.kvs().iter().all(|kv| kv.value().is_empty()), true);
    let all = client.get("", Some(GetOptions::new().with_all_keys())).await?;
    same!(all.count() >= 4, true);
    Ok(())
}

pub async fn deletes(client: &mut Client) -> Outcome {
    for key in ["d/a", "d/b", "d/c"] {
        client.put(key, key, None).await?;
    }
    let one = client.delete("d/a", Some(DeleteOptions::new().with_prev_key())).await?;
    same!((one.deleted(), one.prev_kvs()[0].value()), (1, &b"d/a"[..]));
    let revision = one.header().ok_or("no header")?.revision();
    let none = client.delete("d/a", None).await?;
    same!((none.deleted(), none.header().ok_or("no header")?.revision()), (0, revision));
    let rest = client.delete("d/", Some(DeleteOptions::new().with_prefix())).await?;
    same!((rest.deleted(), rest.prev_kvs().len()), (2, 0));
    Ok(())
}

pub async fn transactions(client: &mut Client) -> Outcome {
    client.put("t/a", "1", None).await?;
    let txn = |value: &str| {
        Txn::new()
            .when([
                Compare::value("t/a", CompareOp::Equal, value),
                Compare::version("t/a", CompareOp::Greater, 0),
                Compare::create_revision("t/none", CompareOp::Equal, 0),
                Compare::lease("t/a", CompareOp::Equal, 0),
            ])
            .and_then([
                TxnOp::put("t/b", "2", None),
                TxnOp::get("t/b", None),
                TxnOp::delete("t/a", None),
            ])
            .or_else([TxnOp::get("t/a", None)])
    };
    let missed = client.txn(txn("other")).await?;
    same!((missed.succeeded(), missed.op_responses().len()), (false, 1));
    let done = client.txn(txn("1")).await?;
    same!((done.succeeded(), done.op_responses().len()), (true, 3));
    match &done.op_responses()[1] {
        TxnOpResponse::Get(found) => {
            same!(found.kvs()[0].value(), b"2");
        }
        other => return Err(format!("found {other:?}").into()),
    }
    same!(client.get("t/a", None).await?.count(), 0);
    let twice = Txn::new().and_then([TxnOp::put("t/x", "1", None), TxnOp::put("t/x", "2", None)]);
    same!(
        refusal(client.txn(twice).await),
        "InvalidArgument: etcdserver: duplicate key given in txn request"
    );
    let many: Vec<TxnOp> = (0..129).map(|n| TxnOp::put(format!("t/{n}"), "", None)).collect();
    same!(
        refusal(client.txn(Txn::new().and_then(many)).await),
        "InvalidArgument: etcdserver: too many operations in txn request"
    );
    Ok(())
}

pub async fn nested_transactions(client: &mut Client) -> Outcome {
    client.put("n/a", "1", None).await?;
    // Judged on the state before the whole: the put before it does not matter.
    let inner = Txn::new()
        .when([Compare::value("n/a", CompareOp::Equal, "1")])
        .and_then([TxnOp::put("n/b", "inner", None)]);
    let outer = Txn::new().and_then([TxnOp::put("n/a", "2", None), TxnOp::txn(inner)]);
    let done = client.txn(outer).await?;
    match &done.op_responses()[1] {
        TxnOpResponse::Txn(inner) => {
            same!(inner.succeeded(), true);
        }
        other => return Err(format!("found {other:?}").into()),
    }
    let found = client.get("n/", Some(GetOptions::new().with_prefix())).await?;
    let revisions: Vec<i64> = found.kvs().iter().map(etcd_client::KeyValue::mod_revision).collect();
    same!(revisions[0], revisions[1]);
    Ok(())
}

pub async fn compaction(client: &mut Client) -> Outcome {
    client.put("c/a", "1", None).await?;
    let revision = client.put("c/a", "2", None).await?.header().ok_or("no header")?.revision();
    client.compact(revision, None).await?;
    let at = |revision| Some(GetOptions::new().with_revision(revision));
    same!(client.get("c/a", at(revision)).await?.kvs()[0].value(), b"2");
    let compacted = "OutOfRange: etcdserver: mvcc: required revision has been compacted";
    same!(refusal(client.get("c/a", at(revision - 1)).await), compacted);
    same!(refusal(client.compact(revision, None).await), compacted);
    same!(
        refusal(client.compact(revision + 1000, None).await),
        "OutOfRange: etcdserver: mvcc: required revision is a future revision"
    );
    Ok(())
}
