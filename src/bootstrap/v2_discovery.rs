//! Discovery by a token on a v2 server, in etcd's protocol: the token is a folder, its `_config/size`
//! says how many members there will be, each member creates a key with its id, and the first so many by
//! `createdIndex` are the cluster. Depends on `client` and `error`.

use std::time::Duration;

use hyper::Method;
use serde::Deserialize;
use tokio::time::sleep;

use super::client::{Client, ClientError};
use super::error::BootstrapError;
use crate::types::MemberId;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a watch may stay silent before the folder is read again: a broken connection is not felt.
const WATCH_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(500);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A token, and the way to its server.
pub(super) struct Token {
    url: String,
    client: Client,
    watcher: Client,
}

#[derive(Deserialize)]
struct Answer {
    node: Node,
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
    #[serde(rename = "createdIndex", default)]
    created_index: u64,
    #[serde(default)]
    nodes: Vec<Node>,
}

/// The folder at one moment.
struct Listed {
    /// The first `size` entries, oldest first, each with its key's last part.
    entries: Vec<(String, String)>,
    size: usize,
    /// Changes after this one are news.
    index: u64,
}

impl Token {
    pub(super) fn new(url: &str, proxy: Option<String>) -> Token {
        let client = Client { proxy, ..Client::new(CONNECT_TIMEOUT, REQUEST_TIMEOUT) };
        let watcher = Client { total_timeout: WATCH_TIMEOUT, ..client.clone() };
        Token { url: url.trim_end_matches('/').to_owned(), client, watcher }
    }

    /// Registers this member and waits until all are there; what they wrote, in the order of arrival.
    pub(super) async fn join(
        &self,
        own: MemberId,
        entry: &str,
    ) -> Result<Vec<String>, BootstrapError> {
        let own_key = format!("{own:x}");
        self.verify_place(&own_key, self.list().await?)?;
        self.register(own, entry).await?;
        loop {
            let listed = self.verify_place(&own_key, self.list().await?)?;
            if listed.entries.len() >= listed.size {
                return Ok(listed.entries.into_iter().map(|(_, value)| value).collect());
            }
            tracing::info!(
                found = listed.entries.len(),
                needed = listed.size,
                "waiting for other members at the discovery token"
            );
            self.wait_after(listed.index).await;
        }
    }

    /// Whether this member is among the first, or can still be.
    fn verify_place(&self, own_key: &str, listed: Listed) -> Result<Listed, BootstrapError> {
        let full = listed.entries.len() >= listed.size;
        if full && !listed.entries.iter().any(|(key, _)| key == own_key) {
            let entries = listed.entries.into_iter().map(|(_, value)| value).collect();
            return Err(BootstrapError::Full { token: self.url.clone(), entries });
        }
        Ok(listed)
    }

    async fn list(&self) -> Result<Listed, BootstrapError> {
        let size = |reason| BootstrapError::Size { token: self.url.clone(), reason };
        let (status, _, body) = self.retry(&format!("{}/_config/size", self.url)).await?;
        let number = match status {
            404 => return Err(size("it has no size")),
            _ => self.read(status, &body)?.node.value,
        };
        let size = match number.trim().parse::<usize>() {
            Ok(0) | Err(_) => return Err(size("its size is no number above 0")),
            Ok(number) => number,
        };
        let (status, index, body) = self.retry(&format!("{}?quorum=true", self.url)).await?;
        let entries = self.entries(status, &body, size)?;
        Ok(Listed { entries, size, index })
    }

    /// Creates this member's key. If it is there already, another start of it has registered, unless an
    /// answer was lost on the way and the key is what this start wrote.
    async fn register(&self, own: MemberId, entry: &str) -> Result<(), BootstrapError> {
        let url = format!("{}/{own:x}?prevExist=false", self.url);
        let form: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("value", entry).finish();
        let mut pause = PAUSE_MIN;
        let mut is_first = true;
        loop {
            let content = "application/x-www-form-urlencoded";
            match self.client.send_text(Method::PUT, &url, content, form.clone()).await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) if answer.status().as_u16() == 412 => {
                    if is_first || !self.has_entry(own, entry).await? {
                        return Err(BootstrapError::Duplicate { token: self.url.clone(), id: own });
                    }
                    return Ok(());
                }
                Ok(answer) if !answer.status().is_server_error() => {
                    return Err(self.refused(answer.status().as_u16(), answer.body()));
                }
                Ok(answer) => self.note(&format!("it answers {}", answer.status().as_u16())),
                Err(error) => self.note(&self.lasting(error)?),
            }
            is_first = false;
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn has_entry(&self, own: MemberId, entry: &str) -> Result<bool, BootstrapError> {
        let (status, _, body) = self.retry(&format!("{}/{own:x}?quorum=true", self.url)).await?;
        Ok(status == 200 && self.read(status, &body)?.node.value == entry)
    }

    /// Until something changes. Whatever ends it, the folder is read next.
    async fn wait_after(&self, index: u64) {
        let after = index.saturating_add(1); // the server says what it likes
        let url = format!("{}?recursive=true&wait=true&waitIndex={after}", self.url);
        let answer = self.watcher.get(&url).await;
        let came = matches!(&answer, Ok(answer) if answer.status().is_success());
        if !came && !matches!(answer, Err(ClientError::Slow(_))) {
            sleep(PAUSE_MIN).await; // not again at once: the server has trouble, or forgot this index
        }
    }

    /// Asks until the server answers something that is not its own trouble: status, index, body.
    async fn retry(&self, url: &str) -> Result<(u16, u64, bytes::Bytes), BootstrapError> {
        let mut pause = PAUSE_MIN;
        loop {
            match self.client.get(url).await {
                Ok(answer) if !answer.status().is_server_error() => {
                    let index = answer.headers().get("X-Etcd-Index");
                    let index = index.and_then(|index| index.to_str().ok()?.parse().ok());
                    return Ok((answer.status().as_u16(), index.unwrap_or(0), answer.into_body()));
                }
                Ok(answer) => self.note(&format!("it answers {}", answer.status().as_u16())),
                Err(error) => self.note(&self.lasting(error)?),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// What may be over soon, as text; what will not, as the error.
    fn lasting(&self, error: ClientError) -> Result<String, BootstrapError> {
        match error {
            ClientError::Url(_) | ClientError::Request(_) => {
                Err(BootstrapError::Client { token: self.url.clone(), source: error })
            }
            error => Ok(error.to_string()),
        }
    }

    fn note(&self, trouble: &str) {
        tracing::warn!(token = self.url, trouble, "the discovery server is asked again");
    }

    /// Those who are registered, in the order of their arrival.
    pub(super) fn entries(
        &self,
        status: u16,
        body: &[u8],
        size: usize,
    ) -> Result<Vec<(String, String)>, BootstrapError> {
        let mut nodes = self.read(status, body)?.node.nodes;
        nodes.sort_by_key(|node| node.created_index);
        let entry = |node: Node| {
            let name = node.key.rsplit('/').next().unwrap_or_default().to_owned();
            (name != "_config").then_some((name, node.value))
        };
        Ok(nodes.into_iter().filter_map(entry).take(size).collect())
    }

    fn read(&self, status: u16, body: &[u8]) -> Result<Answer, BootstrapError> {
        let answer = if status == 200 { serde_json::from_slice(body).ok() } else { None };
        answer.ok_or_else(|| self.refused(status, body))
    }

    fn refused(&self, status: u16, body: &[u8]) -> BootstrapError {
        let body = String::from_utf8_lossy(body).chars().take(200).collect::<String>();
        let body = body.split_whitespace().collect::<Vec<_>>().join(" ");
        BootstrapError::Refused { token: self.url.clone(), status, body }
    }
}
