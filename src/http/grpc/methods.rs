//! What can be called through this door: the RPCs of the v3 API, and gRPC's own services for health and
//! reflection.

use crate::http::v3::methods::{Streaming, Unary};

/// Something that can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// An RPC with one answer.
    Unary(Unary),
    /// An RPC with many.
    Streaming(Streaming),
    /// gRPC's own, with one answer.
    HealthCheck,
    /// gRPC's own, with many.
    HealthWatch,
    /// Reflection, in both of its versions.
    Reflection,
}

/// gRPC's own.
const OWN: [(&str, Method); 4] = [
    ("/grpc.health.v1.Health/Check", Method::HealthCheck),
    ("/grpc.health.v1.Health/Watch", Method::HealthWatch),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Method::Reflection),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Method::Reflection),
];

impl Method {
    /// That of a path.
    pub fn of(path: &str) -> Option<Method> {
        if let Some(rpc) = Unary::of_grpc(path) {
            return Some(Method::Unary(rpc));
        }
        let own = || OWN.iter().find(|row| row.0 == path).map(|row| row.1);
        Streaming::of_grpc(path).map(Method::Streaming).or_else(own)
    }

    /// All, each with its path. The place of each is its [`Method::index`], but for a second path.
    pub fn all() -> impl Iterator<Item = (Method, &'static str)> {
        let unary = Unary::ALL.iter().map(|(rpc, path, _)| (Method::Unary(*rpc), *path));
        let streaming =
            Streaming::ALL.iter().map(|(rpc, path, _)| (Method::Streaming(*rpc), *path));
        unary.chain(streaming).chain(OWN.iter().map(|(path, method)| (*method, *path)))
    }

    /// A small number of its own.
    pub fn index(self) -> usize {
        let own = Unary::ALL.len() + Streaming::ALL.len();
        match self {
            Method::Unary(rpc) => rpc as usize,
            Method::Streaming(rpc) => Unary::ALL.len() + rpc as usize,
            Method::HealthCheck => own,
            Method::HealthWatch => own + 1,
            Method::Reflection => own + 2,
        }
    }

    /// The label `grpc_type` of its metrics.
    pub fn kind(self) -> &'static str {
        match self {
            Method::Unary(_) | Method::HealthCheck => "unary",
            Method::Streaming(rpc) if rpc.takes_stream() => "bidi_stream",
            Method::Reflection => "bidi_stream",
            Method::Streaming(_) | Method::HealthWatch => "server_stream",
        }
    }

    /// Whether requests come as a stream, too.
    pub fn takes_stream(self) -> bool {
        self.kind() == "bidi_stream"
    }
}

/// Service and method in a path; none if it is no path of that kind.
pub fn split(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.rsplit_once('/')
}

/// Whether there is a service of that name.
pub fn is_service(name: &str) -> bool {
    Method::all().any(|(_, path)| split(path).is_some_and(|(service, _)| service == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_path_and_its_place() {
        for (place, (method, path)) in Method::all().enumerate() {
            assert_eq!(Method::of(path), Some(method), "{path}");
            let second = path.contains("v1alpha");
            assert_eq!(method.index(), place - usize::from(second), "{path}");
            assert!(split(path).is_some_and(|(service, _)| is_service(service)), "{path}");
        }
        assert_eq!(Method::of("/etcdserverpb.KV/Nothing"), None);
        assert!(!is_service("etcdserverpb"));
    }
}
