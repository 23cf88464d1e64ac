use super::super::scene::{Scene, keys, query, shown};
use super::*;
use SortOrder::{Ascend, Descend, None as Unsorted};
use SortTarget::{Create, Key, Mod, Value, Version};

/// | key | value | create | mod | version |
/// |---|---|---|---|---|
/// | a | 3 | 2 | 2 | 1 |
/// | b | 1 | 3 | 7 | 3 |
/// | c | 2 | 4 | 8 | 2 |
/// | d | 1 | 5 | 5 | 1 |
fn scene() -> Scene {
    let mut scene = Scene::new();
    for (key, value) in
        [("a", "3"), ("b", "0"), ("c", "0"), ("d", "1"), ("b", "0"), ("b", "1"), ("c", "2")]
    {
        scene.put(key, value);
    }
    scene
}

fn sorted(sort_order: SortOrder, sort_target: SortTarget, limit: i64) -> V3Range {
    V3Range { limit, sort_order, sort_target, ..query("a..") }
}

#[test]
fn orders_and_limits() {
    let scene = scene();
    for (query, expected, more) in [
        (sorted(Unsorted, Key, 0), "a=3 b=1 c=2 d=1", false),
        (sorted(Unsorted, Key, -3), "a=3 b=1 c=2 d=1", false),
        (sorted(Unsorted, Key, 4), "a=3 b=1 c=2 d=1", false),
        (sorted(Unsorted, Key, 3), "a=3 b=1 c=2", true),
        (sorted(Ascend, Key, 1), "a=3", true),
        (sorted(Descend, Key, 0), "d=1 c=2 b=1 a=3", false),
        (sorted(Descend, Key, 2), "d=1 c=2", true),
        (sorted(Ascend, Version, 0), "a=3 d=1 c=2 b=1", false),
        (sorted(Descend, Version, 0), "b=1 c=2 a=3 d=1", false),
        (sorted(Ascend, Create, 0), "a=3 b=1 c=2 d=1", false),
        (sorted(Descend, Create, 1), "d=1", true),
        (sorted(Ascend, Mod, 2), "a=3 d=1", true),
        (sorted(Descend, Mod, 2), "c=2 b=1", true),
        (sorted(Ascend, Value, 0), "b=1 d=1 c=2 a=3", false),
        (sorted(Descend, Value, 0), "a=3 c=2 b=1 d=1", false),
        // Without an order the keys are sorted, but the limit has chosen them before.
        (sorted(Unsorted, Value, 0), "b=1 d=1 c=2 a=3", false),
        (sorted(Unsorted, Value, 2), "b=1 c=2", true),
        (sorted(Unsorted, Value, 1), "b=1", true),
        (sorted(Ascend, Key, i64::MAX), "a=3 b=1 c=2 d=1", false),
    ] {
        let answer = range(&scene.state, &query).unwrap();
        let told = (shown(&answer.keys), answer.more, answer.count);
        assert_eq!(told, (expected.to_owned(), more, 4), "{query:?}");
    }
}

#[test]
fn filters_choose_before_the_limit_and_do_not_lower_the_count() {
    let scene = scene();
    let all = || query("a..");
    for (query, expected, more) in [
        (V3Range { min_mod_revision: 5, ..all() }, "b=1 c=2 d=1", false),
        (V3Range { max_mod_revision: 5, ..all() }, "a=3 d=1", false),
        (V3Range { min_create_revision: 4, ..all() }, "c=2 d=1", false),
        (V3Range { max_create_revision: 3, ..all() }, "a=3 b=1", false),
        (V3Range { min_mod_revision: 7, max_create_revision: 3, ..all() }, "b=1", false),
        (V3Range { min_mod_revision: 5, limit: 2, ..all() }, "b=1 c=2", true),
        (V3Range { min_mod_revision: 5, limit: 3, ..all() }, "b=1 c=2 d=1", false),
        (V3Range { max_mod_revision: 1, ..all() }, "", false),
        (V3Range { max_mod_revision: -1, ..all() }, "", false),
        (V3Range { min_mod_revision: 5, limit: 2, sort_order: Descend, ..all() }, "d=1 c=2", true),
        (V3Range { min_mod_revision: 5, limit: 2, sort_target: Value, ..all() }, "b=1 d=1", true),
    ] {
        let answer = range(&scene.state, &query).unwrap();
        let told = (shown(&answer.keys), answer.more, answer.count);
        assert_eq!(told, (expected.to_owned(), more, 4), "{query:?}");
    }
}

#[test]
fn a_count_is_all_there_is() {
    let scene = scene();
    for (text, revision, count) in [
        ("a..", 0, 4),
        ("b..d", 0, 2),
        ("b", 0, 1),
        ("x", 0, 0),
        ("d..a", 0, 0),
        ("b..\0\0", 0, 0),
        ("a..", 3, 2),
        ("c", 3, 0),
    ] {
        let query = V3Range { revision, count_only: true, limit: 1, ..query(text) };
        let answer = range(&scene.state, &query).unwrap();
        let told = (answer.keys.len(), answer.more, answer.count);
        assert_eq!(told, (0, false, count), "{text} at {revision}");
    }
}

/// The past is sorted, turned round and cut as the present is; the header tells the present.
#[test]
fn the_past_is_cut_as_the_present() {
    let scene = scene();
    for (sort_order, sort_target, limit, expected, more) in [
        (Unsorted, Key, 2, "a=3 b=0", true),
        (Descend, Key, 2, "d=1 c=0", true),
        (Descend, Key, 0, "d=1 c=0 b=0 a=3", false),
        (Descend, Value, 3, "a=3 d=1 b=0", true),
    ] {
        let query = V3Range { revision: 5, ..sorted(sort_order, sort_target, limit) };
        let answer = range(&scene.state, &query).unwrap();
        assert_eq!((shown(&answer.keys), answer.more, answer.count), (expected.into(), more, 4));
        assert_eq!(answer.revision, scene.state.revision);
    }
}

/// What decides where a range is carried out.
#[test]
fn the_work_of_a_range() {
    let mut scene = Scene::new();
    for number in 0..100 {
        scene.put(&format!("{number:03}"), "");
    }
    let all = || V3Range { keys: keys("0.."), ..V3Range::default() };
    for (query, expected) in [
        (query("005"), 1),
        (all(), 100),
        (V3Range { limit: 10, ..all() }, 10),
        (V3Range { limit: 10, sort_order: Descend, ..all() }, 10),
        (V3Range { limit: 10, sort_order: Descend, sort_target: Mod, ..all() }, 100),
        (V3Range { limit: 10, min_mod_revision: 3, ..all() }, 100),
        (V3Range { count_only: true, ..all() }, 1),
        (V3Range { revision: 51, limit: 10, ..all() }, 60),
        (V3Range { revision: 1_000, limit: 10, ..all() }, 10),
        (V3Range { keys: keys("9..0"), ..all() }, 0),
    ] {
        assert_eq!(work(&scene.state, &query), expected, "{query:?}");
    }
}
