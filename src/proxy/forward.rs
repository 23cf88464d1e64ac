//! One request, tried on one endpoint after the other. A request is tried again only when that cannot
//! make it happen twice: reads always, writes only if they certainly never reached an endpoint.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    Proxy,
    director::Endpoint,
    upstream::{self, Ask, AskError, Reply},
};

/// Why no endpoint answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// All have failed a moment ago, or there is none.
    #[error("httpproxy: zero endpoints currently available")]
    NoEndpoint,
    /// Each was tried.
    #[error("httpproxy: unable to get response from {0} endpoint(s)")]
    All(usize),
    /// A write may have reached an endpoint, which did not answer.
    #[error(
        "httpproxy: no answer from the endpoint; the request may or may not have been carried out"
    )]
    Unknown,
}

/// Asks until an endpoint answers, whatever it answers.
pub async fn forward(proxy: &Arc<Proxy>, ask: &Ask, client: u64) -> Result<Reply, Unanswered> {
    let candidates = proxy.director.candidates(client, Instant::now());
    if candidates.is_empty() {
        return Err(Unanswered::NoEndpoint);
    }
    for endpoint in &candidates {
        match upstream::ask(endpoint, ask, &proxy.settings, &proxy.endpoints_tls).await {
            Ok(reply) => {
                endpoint.answered();
                return Ok(reply);
            }
            Err(error) => {
                note_failure(proxy, endpoint, &error);
                if matches!(error, AskError::Lost(_)) && !ask.may_be_repeated() {
                    return Err(Unanswered::Unknown);
                }
            }
        }
    }
    Err(Unanswered::All(candidates.len()))
}

fn note_failure(proxy: &Proxy, endpoint: &Endpoint, error: &AskError) {
    proxy.figures.failures.inc();
    if proxy.director.failed(endpoint, Instant::now()) {
        warn!(endpoint = %endpoint.url, %error, "an endpoint is left alone for a while");
    } else {
        debug!(endpoint = %endpoint.url, %error, "an endpoint fails again");
    }
}
