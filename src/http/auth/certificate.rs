//! Who a client is by the certificate that it showed: the user of the certificate's common name. It is
//! read once for each connection, where `client-cert-auth` is set or an audit log wants it; only the first
//! makes it a user's.
//!
//! It says who opened the connection, and nothing of on whose behalf: a request that somebody passes on
//! has no user by certificate. Saying that it was passed on can cost a client its rights, never give any.

use std::{net::SocketAddr, sync::Arc};

use actix_http::{HttpMessage as _, Request, Version, header::HeaderMap};

use crate::{http::wire::Wire, tls::identity_of};

/// The common name of the certificate that the client of a connection has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonName {
    name: Arc<str>,
    is_user: bool,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// From where.
    pub address: Option<SocketAddr>,
    /// By its certificate, where that counts.
    pub certificate: Option<CommonName>,
}

/// What says that a request does not come from the client of its connection: proxies say it, and
/// gateways to gRPC.
pub const PASSED_ON: [&str; 5] =
    ["x-forwarded-for", "forwarded", "via", "grpcgateway-accept", "grpcgateway-user-agent"];

impl CommonName {
    /// That of a connection, and whether it is a user's name; none if there is no certificate, or the
    /// certificate has no name.
    pub fn of_connection(wire: &Wire, is_user: bool) -> Option<CommonName> {
        let name =
            identity_of(wire.shown()?.first()?)?.common_name.filter(|name| !name.is_empty())?;
        Some(CommonName { name: name.into(), is_user })
    }

    /// That of the connection on which a request came.
    pub fn of_request(request: &Request) -> Option<CommonName> {
        // A connection of HTTP/2 is none of actix's: its requests carry the name themselves.
        let name = if request.version() == Version::HTTP_2 {
            request.extensions().get::<CommonName>().cloned()
        } else {
            request.conn_data::<CommonName>().cloned()
        };
        let passed_on = is_passed_on(request.head().headers());
        name.map(|name| name.of_request_passed_on(passed_on))
    }

    /// The same, for a request of which is known whether it was passed on.
    #[must_use]
    pub fn of_request_passed_on(self, passed_on: bool) -> CommonName {
        CommonName { is_user: self.is_user && !passed_on, ..self }
    }

    /// Whose certificate was shown, whatever it counts for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user that it speaks for.
    pub fn user(&self) -> Option<&str> {
        self.is_user.then_some(&*self.name)
    }
}

fn is_passed_on(headers: &HeaderMap) -> bool {
    PASSED_ON.iter().any(|name| headers.contains_key(*name))
}
