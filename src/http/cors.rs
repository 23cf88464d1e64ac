//! Cross-origin headers as etcd sends them: three fixed headers on every answer to an allowed origin.

use actix_http::{
    RequestHead,
    header::{self, HeaderName, HeaderValue},
};

use super::answer::Answer;

/// The rule of `--cors`.
#[derive(Clone, Debug)]
pub enum Cors {
    /// `*`: everyone, told so.
    Any,
    /// These origins, exactly.
    Listed(Vec<String>),
}

/// What one answer is to say.
pub type Allowed = Option<HeaderValue>;

impl Cors {
    /// From the allowed origins of the settings; none allows none.
    pub fn new(origins: &[String]) -> Cors {
        if origins.iter().any(|origin| origin == "*") {
            return Cors::Any;
        }
        Cors::Listed(origins.to_vec())
    }

    /// The origin that the answer to this request allows.
    pub fn allowed(&self, request: &RequestHead) -> Allowed {
        let Cors::Listed(origins) = self else { return Some(HeaderValue::from_static("*")) };
        let origin = request.headers().get(header::ORIGIN)?;
        let listed = origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes());
        listed.then(|| origin.clone())
    }
}

/// Puts the headers on an answer.
pub fn allow(answer: &mut Answer, allowed: Allowed) {
    const FIXED: [(HeaderName, HeaderValue); 2] = [
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("accept, content-type, authorization"),
        ),
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"),
        ),
    ];
    let Some(origin) = allowed else { return };
    let headers = answer.headers_mut();
    for (name, value) in FIXED {
        headers.insert(name, value);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let origin = |cors: &[&str], sent: Option<&'static str>| {
            let cors: Vec<String> = cors.iter().map(|&s| s.to_owned()).collect();
            let mut request = actix_http::Request::new();
            if let Some(sent) = sent {
                request.headers_mut().insert(header::ORIGIN, HeaderValue::from_static(sent));
            }
            let allowed = Cors::new(&cors).allowed(request.head());
            allowed.map(|value| value.to_str().expect("ASCII").to_owned())
        };
        assert_eq!(origin(&["*"], None).as_deref(), Some("*"));
        assert_eq!(origin(&["http://a"], Some("http://a")).as_deref(), Some("http://a"));
        assert_eq!(origin(&["http://a"], Some("http://b")), None);
        assert_eq!(origin(&["http://a"], None), None);
        assert_eq!(origin(&[], Some("http://a")), None);
    }
}
