//! One key: its value is the body, its revision the entity tag.

use actix_http::{
    StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use bytes::Bytes;

use super::{Asked, Refused};
use crate::http::{
    answer::{self, Answer},
    v3::{
        error::PERMISSION_DENIED,
        pb::{
            Fields, KeyValue,
            etcdserverpb::{
                DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader,
                ResponseOp, TxnRequest, TxnResponse, request_op::Request, response_op::Response,
            },
        },
    },
};

const REVISION: HeaderName = HeaderName::from_static("callboard-revision");
const CREATE_REVISION: HeaderName = HeaderName::from_static("callboard-create-revision");
const VERSION: HeaderName = HeaderName::from_static("callboard-version");
const LEASE: HeaderName = HeaderName::from_static("callboard-lease");

impl Asked {
    /// The value.
    pub(super) async fn get(self) -> Result<Answer, Refused> {
        self.params.only(&["prefix", "rev", "serializable", "wait"])?;
        let request = RangeRequest {
            key: self.key.into(),
            revision: self.params.rev,
            serializable: self.params.serializable,
            ..RangeRequest::default()
        };
        let range = self.services.range(&self.caller, request).await?;
        let found = range.kvs.first().map(KeyValue::fields);
        let revision = found.as_ref().map(|found| found.mod_revision);
        if !self.conditions.matches(revision) {
            return Ok(unexpected(range.header.as_ref(), revision));
        }
        let Some(found) = found else { return Ok(missing(range.header.as_ref())) };
        let mut answer = if self.conditions.is_known(found.mod_revision) {
            answer::empty(StatusCode::NOT_MODIFIED)
        } else {
            let value = Bytes::copy_from_slice(found.value);
            answer::whole(StatusCode::OK, "application/octet-stream", value)
        };
        describe(&mut answer, &found);
        tell_revision(&mut answer, range.header.as_ref());
        Ok(answer)
    }

    /// Sets the value: 201 if the key was not there.
    pub(super) async fn put(self, value: Bytes) -> Result<Answer, Refused> {
        self.params.only(&["lease"])?;
        let key = Bytes::from(self.key);
        let compare = self.conditions.compares(&key)?;
        let before = RangeRequest { key: key.clone(), count_only: true, ..RangeRequest::default() };
        let put = PutRequest { key, value, lease: self.params.lease, ..PutRequest::default() };
        let txn = TxnRequest {
            compare,
            failure: vec![op(Request::RequestRange(keys_only(&put.key)))],
            success: vec![op(Request::RequestRange(before)), op(Request::RequestPut(put.clone()))],
        };
        let txn = match self.services.txn(&self.caller, txn).await {
            Err(error) if error == PERMISSION_DENIED && self.conditions.is_empty() => {
                // Who may write the key and not read it cannot be told whether it was there.
                let put = self.services.put(&self.caller, put).await?;
                return Ok(written(StatusCode::OK, put.header.as_ref()));
            }
            answered => answered?,
        };
        if !txn.succeeded {
            return Ok(unexpected(txn.header.as_ref(), found_instead(&txn)));
        }
        let was_there = matches!(
            txn.responses.first(),
            Some(ResponseOp { response: Some(Response::ResponseRange(range)) }) if range.count > 0
        );
        let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
        Ok(written(status, txn.header.as_ref()))
    }

    /// Deletes it: 204, or 404 if it was not there.
    pub(super) async fn delete(self) -> Result<Answer, Refused> {
        self.params.only(&["prefix"])?;
        let key = Bytes::from(self.key);
        let compare = self.conditions.compares(&key)?;
        let delete = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
        if compare.is_empty() {
            let deleted = self.services.delete_range(&self.caller, delete).await?;
            return Ok(gone(deleted.header.as_ref(), deleted.deleted));
        }
        let txn = TxnRequest {
            compare,
            failure: vec![op(Request::RequestRange(keys_only(&delete.key)))],
            success: vec![op(Request::RequestDeleteRange(delete))],
        };
        let txn = self.services.txn(&self.caller, txn).await?;
        if !txn.succeeded {
            return Ok(unexpected(txn.header.as_ref(), found_instead(&txn)));
        }
        let deleted = match txn.responses.first().and_then(|op| op.response.as_ref()) {
            Some(Response::ResponseDeleteRange(answer)) => answer.deleted,
            _ => 0,
        };
        Ok(gone(txn.header.as_ref(), deleted))
    }
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// To tell the tag that a condition met instead.
fn keys_only(key: &Bytes) -> RangeRequest {
    RangeRequest { key: key.clone(), keys_only: true, ..RangeRequest::default() }
}

fn found_instead(txn: &TxnResponse) -> Option<i64> {
    match txn.responses.first()?.response.as_ref()? {
        Response::ResponseRange(range) => Some(range.kvs.first()?.fields().mod_revision),
        _ => None,
    }
}

fn written(status: StatusCode, header: Option<&ResponseHeader>) -> Answer {
    let mut answer = answer::empty(status);
    tag(&mut answer, header.map_or(0, |header| header.revision));
    tell_revision(&mut answer, header);
    answer
}

fn gone(header: Option<&ResponseHeader>, deleted: i64) -> Answer {
    if deleted == 0 {
        return missing(header);
    }
    let mut answer = answer::empty(StatusCode::NO_CONTENT);
    tell_revision(&mut answer, header);
    answer
}

fn missing(header: Option<&ResponseHeader>) -> Answer {
    let mut answer = answer::error_text(StatusCode::NOT_FOUND, &b"there is no such key\n"[..]);
    tell_revision(&mut answer, header);
    answer
}

/// 412, with the tag that the key has, if it is there.
fn unexpected(header: Option<&ResponseHeader>, revision: Option<i64>) -> Answer {
    let text = match revision {
        Some(revision) => format!("the key is there, last changed at revision {revision}\n"),
        None => "there is no such key\n".to_owned(),
    };
    let mut answer = answer::error_text(StatusCode::PRECONDITION_FAILED, text);
    if let Some(revision) = revision {
        tag(&mut answer, revision);
    }
    tell_revision(&mut answer, header);
    answer
}

/// What is known of a key, beside its value.
fn describe(answer: &mut Answer, key: &Fields<'_>) {
    tag(answer, key.mod_revision);
    answer::set_number(answer, &CREATE_REVISION, key.create_revision as u64);
    answer::set_number(answer, &VERSION, key.version as u64);
    if key.lease != 0 {
        answer::set_header(answer, &LEASE, key.lease.to_string().into_bytes());
    }
    // A value is for programs: no browser is to guess what it is, no cache to keep it unasked.
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
}

fn tag(answer: &mut Answer, revision: i64) {
    answer::set_header(answer, &header::ETAG, format!("\"{revision}\"").into_bytes());
}

/// The store's revision when it answered.
pub(super) fn tell_revision(answer: &mut Answer, header: Option<&ResponseHeader>) {
    if let Some(header) = header {
        answer::set_number(answer, &REVISION, header.revision as u64);
    }
}
