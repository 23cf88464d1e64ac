//! What a client says to the v2 door: path, query, form, media type, and a member as JSON.

use callboard::http::{
    path,
    v2::{media_type, members, params::Params},
};

use super::{Input, pieces};

pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let is_get = input.byte() % 2 == 0;
    let (raw_path, query, body) = (input.piece(), input.text(), input.piece());
    _ = Params::parse(&query, body, is_get);
    _ = Params::parse("", body, is_get);
    _ = media_type::is_form(input.piece());
    _ = members::is_member(body);
    if let Ok(decoded) = path::decode(raw_path) {
        let clean = path::clean(&decoded);
        assert_eq!(path::clean(&clean), clean, "a clean path stays as it is");
        assert!(path::is_clean(&clean), "and is known as such: {clean:?}");
        let written = path::encode(&decoded);
        let again = path::decode(written.as_bytes());
        assert_eq!(again.as_deref(), Ok(&decoded[..]), "what is escaped is read again");
        _ = path::is_too_deep(&decoded, 3);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let form = "application/x-www-form-urlencoded; charset=utf-8";
    let rows: [(u8, [&str; 4]); 4] = [
        (0, ["/v2/keys/a/../b%2Fc//d/.", "recursive=true&wait=true&waitIndex=7&quorum=1", "", ""]),
        (1, ["/v2/keys/%C3%A9", "prevExist=false&ttl=100", "value=a+b%20c&ttl=&prevIndex=3", form]),
        (1, ["/", "prevValue=%", "value=%zz;dir=true", "text/plain; a=\"b\\\"\"; b*0*=utf-8''%20"]),
        (1, ["/v2/members", "", r#"{"peerURLs":["http://[::1]:2380"],"isLearner":true}"#, ""]),
    ];
    rows.iter().map(|(head, row)| pieces(&[*head], row.map(str::as_bytes))).collect()
}
