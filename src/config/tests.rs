use super::*;
#[test]
fn defaults() {
    let c = Config::default();
    assert_eq!(c.data_dir.to_str(), Some("default.etcd"));
}
