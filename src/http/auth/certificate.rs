//! Who a client is by the certificate that it showed: the user of the certificate's common name. It is
//! read once for each connection, where `client-cert-auth` is set.
//!
//! It says who opened the connection, and nothing of on whose behalf: a request that somebody passes on
//! has no user by certificate. Saying that it was passed on can cost a client its rights, never give any.

use std::{net::SocketAddr, sync::Arc};

use actix_http::{HttpMessage as _, Request, Version, header::HeaderMap};

use crate::{http::wire::Wire, tls::identity_of};

/// The common name of the certificate that the client of a connection has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonName(pub Arc<str>);

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
    /// That of a connection; none if it has no certificate, or the certificate no name.
    pub fn of_connection(wire: &Wire) -> Option<CommonName> {
        let Wire::Tls(stream) = wire else { return None };
        let certificate = stream.get_ref().1.peer_certificates()?.first()?;
        let name = identity_of(certificate)?.common_name.filter(|name| !name.is_empty())?;
        Some(CommonName(name.into()))
    }

    /// That which speaks for a request.
    pub fn of_request(request: &Request) -> Option<CommonName> {
        // A connection of HTTP/2 is none of actix's: its requests carry the name themselves.
        let name = if request.version() == Version::HTTP_2 {
            request.extensions().get::<CommonName>().cloned()
        } else {
            request.conn_data::<CommonName>().cloned()
        };
        name.filter(|_| !is_passed_on(request.head().headers()))
    }
}

fn is_passed_on(headers: &HeaderMap) -> bool {
    PASSED_ON.iter().any(|name| headers.contains_key(*name))
}
