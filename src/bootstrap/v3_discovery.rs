//! Discovery by a token in a v3 server, in etcd 3.6's layout of keys, spoken through the JSON gateway:
//! the size under `/_etcd/registry/TOKEN/_config/size`, each member under `…/members/<id>`, and the first
//! so many by create revision are the cluster. Depends on `client`, `base64` and `error`.

use hyper::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::base64;
use super::client::Client;
use super::error::BootstrapError;
use super::v2_discovery::{PAUSE_MAX, PAUSE_MIN};
use crate::config::Url;
use crate::types::MemberId;

/// A token, and the servers that have it.
pub(super) struct Token {
    client: Client,
    endpoints: Vec<String>,
    name: String,
}

impl Token {
    pub(super) fn new(client: Client, endpoints: &[Url], token: &str) -> Token {
        let endpoints = endpoints.iter().map(|url| url.as_str().to_owned()).collect();
        Token { client, endpoints, name: token.to_owned() }
    }

    fn key(&self, rest: &str) -> String {
        format!("/_etcd/registry/{}/{rest}", self.name)
    }

    /// Registers this member and waits until all are there; what they wrote, in the order of arrival.
    pub(super) async fn join(
        &self,
        own: MemberId,
        entry: &str,
    ) -> Result<Vec<String>, BootstrapError> {
        let size = self.size().await?;
        let own_key = self.key(&format!("members/{own:x}"));
        self.list(size, &own_key).await?;
        self.register(own, &own_key, entry).await?;
        let mut said = usize::MAX;
        loop {
            let entries = self.list(size, &own_key).await?;
            if entries.len() >= size {
                return Ok(entries);
            }
            if entries.len() != said {
                said = entries.len();
                tracing::info!(
                    found = said,
                    needed = size,
                    "waiting for other members at the discovery token"
                );
            }
            sleep(PAUSE_MIN).await;
        }
    }

    async fn size(&self) -> Result<usize, BootstrapError> {
        let bad = |reason| BootstrapError::Size { token: self.name.clone(), reason };
        let key = base64::encode(self.key("_config/size").as_bytes());
        let answer = self.ask("/v3/kv/range", &json!({ "key": key })).await?;
        let Some(value) = answer["kvs"].get(0).map(|kv| text(&kv["value"])) else {
            return Err(bad("it has no size"));
        };
        match value.trim().parse() {
            Ok(0) | Err(_) => Err(bad("its size is no number above 0")),
            Ok(size) => Ok(size),
        }
    }

    /// The first `size` entries; an error if they are there without this member.
    async fn list(&self, size: usize, own_key: &str) -> Result<Vec<String>, BootstrapError> {
        let (from, to) = (self.key("members/"), self.key("members0")); // 0 follows /
        let range = json!({
            "key": base64::encode(from.as_bytes()), "range_end": base64::encode(to.as_bytes()),
        });
        let answer = self.ask("/v3/kv/range", &range).await?;
        let entries = entries(&answer, size);
        let is_in = entries.iter().any(|(_, key, _)| key == own_key);
        let entries: Vec<String> = entries.into_iter().map(|(_, _, value)| value).collect();
        if entries.len() >= size && !is_in {
            return Err(BootstrapError::Full { token: self.name.clone(), entries });
        }
        Ok(entries)
    }

    /// Creates this member's key. If it is there with the same text, an answer was lost or an earlier
    /// start waited in vain: the members themselves are asked next whether they know this one.
    async fn register(
        &self,
        own: MemberId,
        own_key: &str,
        entry: &str,
    ) -> Result<(), BootstrapError> {
        let (key, value) = (base64::encode(own_key.as_bytes()), base64::encode(entry.as_bytes()));
        let create = json!({
            "compare": [{ "key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0" }],
            "success": [{ "request_put": { "key": key, "value": value } }],
            "failure": [{ "request_range": { "key": key } }],
        });
        let answer = self.ask("/v3/kv/txn", &create).await?;
        let there = &answer["responses"][0]["response_range"]["kvs"][0]["value"];
        if answer["succeeded"].as_bool() == Some(true) || text(there) == entry {
            return Ok(());
        }
        Err(BootstrapError::Duplicate { token: self.name.clone(), id: own })
    }

    /// Asks one server after the other until one answers; a refusal that will not change is an error.
    async fn ask(&self, path: &str, question: &Value) -> Result<Value, BootstrapError> {
        let mut pause = PAUSE_MIN;
        loop {
            for endpoint in &self.endpoints {
                let url = format!("{endpoint}{path}");
                let body = question.to_string();
                let sent =
                    self.client.send_text(Method::POST, &url, "application/json", body).await;
                let trouble = match sent {
                    Ok(answer) if answer.status().is_success() => {
                        match serde_json::from_slice(answer.body()) {
                            Ok(value) => return Ok(value),
                            Err(error) => error.to_string(),
                        }
                    }
                    Ok(answer) if answer.status().is_client_error() => {
                        let body = String::from_utf8_lossy(answer.body());
                        let body = body.split_whitespace().collect::<Vec<_>>().join(" ");
                        return Err(BootstrapError::Refused {
                            token: self.name.clone(),
                            status: answer.status().as_u16(),
                            body: body.chars().take(200).collect(),
                        });
                    }
                    Ok(answer) => format!("it answers {}", answer.status().as_u16()),
                    Err(error) => error.to_string(),
                };
                tracing::warn!(endpoint, trouble, "the discovery server is asked again");
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// A base64 text of the gateway; what is none is empty.
/// Those who are registered, in the order of their arrival: revision, key and value.
pub(super) fn entries(answer: &Value, size: usize) -> Vec<(u64, String, String)> {
    let mut entries = Vec::new();
    for kv in answer["kvs"].as_array().into_iter().flatten() {
        entries.push((number(&kv["create_revision"]), text(&kv["key"]), text(&kv["value"])));
    }
    entries.sort();
    entries.truncate(size);
    entries
}

fn text(value: &Value) -> String {
    let bytes = base64::decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// A 64-bit number of the gateway, which is a text.
fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}
