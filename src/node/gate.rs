//! What the configuration says about passwords and tokens, with the keys read from their files; where the
//! audit log goes; and what is let in at once.

use std::{io, path::Path, time::Duration};

use super::RunError;
use crate::{
    audit_log::{AuditLog, AuditSettings},
    config::{AuditFile, AuthToken, ClientLimits, Config},
    http::{
        auth::{Gate, Tokens, jwt::Jwt},
        limits::{LimitSettings, Limits},
        server::ServerSettings,
    },
};

/// etcd's default, which holds for 0 too.
const TTL_DEFAULT: Duration = Duration::from_secs(300);

/// Makes what looks at passwords and tokens.
pub(super) fn open(config: &Config) -> Result<Gate, RunError> {
    let tokens = match &config.auth_token {
        AuthToken::Simple if config.auth_token_ttl.is_zero() => Tokens::Simple { ttl: TTL_DEFAULT },
        AuthToken::Simple => Tokens::Simple { ttl: config.auth_token_ttl },
        AuthToken::Jwt { sign_method, pub_key, priv_key, ttl } => {
            let public = pub_key.as_deref().map(key).transpose()?;
            let private = priv_key.as_deref().map(key).transpose()?;
            let jwt = Jwt::new(sign_method, public.as_deref(), private.as_deref(), *ttl)
                .map_err(|error| refused(sign_method.clone(), io::Error::other(error)))?;
            Tokens::Jwt(Box::new(jwt))
        }
    };
    Ok(Gate::new(tokens, config.bcrypt_cost))
}

/// Opens the audit log, if there is to be one.
pub(super) fn open_audit_log(config: &Config) -> Result<Option<AuditLog>, RunError> {
    let Some(AuditFile { path, max_bytes, max_files }) = config.audit_log.clone() else {
        return Ok(None);
    };
    let url = path.display().to_string();
    let settings = AuditSettings { path, max_bytes, max_files };
    let opened = AuditLog::open(&settings);
    opened.map(Some).map_err(|error| RunError::Listen { setting: "audit-log", url, error })
}

/// What is let in at once.
pub(super) fn limits(config: &Config) -> Limits {
    let ClientLimits { leases, writes, reads, large, held, response_bytes, .. } = config.limits;
    let response_bytes = usize::try_from(response_bytes).unwrap_or(usize::MAX);
    Limits::new(LimitSettings { leases, writes, reads, large, held, response_bytes })
}

/// How the client port is run, by so many threads of its own.
pub(super) fn server_settings(config: &Config, workers: usize) -> ServerSettings {
    let ClientLimits { connections, connections_per_address, idle_timeout, .. } = config.limits;
    ServerSettings {
        workers,
        connections_max: connections,
        connections_per_address,
        idle_timeout,
        ..ServerSettings::default()
    }
}

fn key(path: &Path) -> Result<Vec<u8>, RunError> {
    std::fs::read(path).map_err(|error| refused(path.display().to_string(), error))
}

fn refused(value: String, error: io::Error) -> RunError {
    RunError::Listen { setting: "auth-token", url: value, error }
}
