//! Does with the `etcd-client` crate all that it can do, one piece after the other, against the server
//! whose address is the argument: an etcd, or a Callboard. Prints each piece, and ends at the first that
//! comes out otherwise than it should.

use std::{error::Error, process::ExitCode, time::Duration};

mod auth;
mod cluster;
mod kv;
mod lease;
mod locks;
mod watch;

use etcd_client::Client;

type Outcome = Result<(), Box<dyn Error>>;

/// Fails with the line and both values unless they are equal.
#[macro_export]
macro_rules! same {
    ($found:expr, $expected:expr) => {
        match (&$found, &$expected) {
            (found, expected) => {
                if *found != *expected {
                    let (file, line) = (file!(), line!());
                    let text = format!("{file}:{line}: found {found:?}, expected {expected:?}");
                    return Err(text.into());
                }
            }
        }
    };
}

/// The text of an error, or why there is none.
fn refusal<T>(result: Result<T, etcd_client::Error>) -> String {
    match result {
        Ok(_) => "no error".to_owned(),
        Err(etcd_client::Error::GRpcStatus(status)) => {
            format!("{:?}: {}", status.code(), status.message())
        }
        Err(other) => other.to_string(),
    }
}

/// Long enough for whatever is waited for, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> ExitCode {
    let Some(endpoint) = std::env::args().nth(1) else {
        eprintln!("usage: callboard-etcd-client HOST:PORT");
        return ExitCode::from(2);
    };
    match tokio::time::timeout(6 * PATIENCE, all(&endpoint)).await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        Err(_) => {
            eprintln!("it takes too long");
            ExitCode::FAILURE
        }
    }
}

async fn all(endpoint: &str) -> Outcome {
    let mut client = Client::connect([endpoint], None).await?;
    macro_rules! run {
        ($($piece:path),*) => {$(
            println!(stringify!($piece));
            $piece(&mut client).await.map_err(|error| format!("{}: {error}", stringify!($piece)))?;
        )*};
    }
    run!(
        kv::put_and_get,
        kv::ranges,
        kv::deletes,
        kv::transactions,
        kv::nested_transactions,
        kv::compaction,
        watch::live_and_past,
        watch::many_on_one_stream,
        watch::compacted,
        lease::life_of_a_lease,
        lease::keep_alive,
        lease::expiry,
        locks::lock,
        locks::election,
        cluster::members,
        cluster::maintenance,
        cluster::snapshot
    );
    println!("auth::users_and_roles");
    auth::users_and_roles(&mut client, endpoint).await
}
