//! etcd's v2 store, as plainly as it can be written: a tree of nodes, each directory with its children
//! by name. Its operations follow etcd's `store.go` line by line, its watchers etcd's `watcher_hub.go`.
//!
//! Where Callboard deviates on purpose, so does the model, and says so.

use std::collections::BTreeMap;

use callboard::command::{V2Command, V2Compare, V2Op, V2Write};

/// A node of the tree.
#[derive(Clone, Debug)]
struct Node {
    path: String,
    created: u64,
    modified: u64,
    /// When it ends, and the index of the write that said so.
    expires: Option<(u64, u64)>,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    File(Vec<u8>),
    Dir(BTreeMap<String, Node>),
}

/// A node as answers and events show it; the root has no key and no indexes.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub key: String,
    pub what: What,
    pub expires: Option<u64>,
    pub created: u64,
    pub modified: u64,
}

/// What a node is, and what of it is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    File(Vec<u8>),
    /// A file without its value, in the event of its end.
    Gone,
    Dir,
    /// A directory with its children.
    Listed(Vec<Shown>),
}

/// What a change did.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub index: u64,
    pub action: &'static str,
    pub node: Shown,
    pub prev: Option<Shown>,
    /// Wakes nobody.
    pub refresh: bool,
    /// Every path that ceased to exist with a directory, the directory included.
    pub removed: Vec<String>,
}

/// A refusal: code, cause and index.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub code: u16,
    pub cause: String,
    pub index: u64,
}

/// A watcher.
#[derive(Clone, Debug)]
pub struct Watch {
    pub path: String,
    pub recursive: bool,
}

/// The store, with all events that it ever made.
#[derive(Clone, Debug)]
pub struct Store {
    root: Node,
    pub index: u64,
    pub events: Vec<Event>,
}

impl Node {
    fn new(path: &str, index: u64, expires: Option<(u64, u64)>, content: Content) -> Node {
        Node { path: path.to_owned(), created: index, modified: index, expires, content }
    }

    fn is_dir(&self) -> bool {
        matches!(self.content, Content::Dir(_))
    }

    fn children(&self) -> Option<&BTreeMap<String, Node>> {
        match &self.content {
            Content::Dir(children) => Some(children),
            Content::File(_) => None,
        }
    }

    /// As an event shows it: without children.
    fn shown(&self) -> Shown {
        let what = match &self.content {
            Content::File(value) => What::File(value.clone()),
            Content::Dir(_) => What::Dir,
        };
        Shown {
            key: if self.path == "/" { String::new() } else { self.path.clone() },
            what,
            expires: self.expires.map(|(at, _)| at),
            created: self.created,
            modified: self.modified,
        }
    }

    /// As an answer to GET shows it: with visible children, and theirs if `recursive`.
    fn listed(&self, recursive: bool) -> Shown {
        let mut shown = self.shown();
        if let Some(children) = self.children() {
            let visible = children.iter().filter(|(name, _)| !name.starts_with('_'));
            let nodes = visible.map(
                |(_, child)| {
                    if recursive { child.listed(true) } else { child.shown() }
                },
            );
            shown.what = What::Listed(nodes.collect());
        }
        shown
    }

    /// Its path and those of everything below it.
    fn paths(&self) -> Vec<String> {
        let below = self.children().into_iter().flatten().flat_map(|(_, child)| child.paths());
        std::iter::once(self.path.clone()).chain(below).collect()
    }

    /// The first of all below it to end at or before `now`: by its time, then by when that was said.
    fn first_due(&self, now: u64) -> Option<((u64, u64), String)> {
        let own = self.expires.filter(|(at, _)| *at <= now).map(|due| (due, self.path.clone()));
        let below = self.children().into_iter().flatten().filter_map(|(_, c)| c.first_due(now));
        below.chain(own).min()
    }

    fn ttls(&self) -> usize {
        let below = self.children().into_iter().flatten().map(|(_, child)| child.ttls());
        usize::from(self.expires.is_some()) + below.sum::<usize>()
    }
}

/// The names along a path: none for the root.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

fn join(dir: &str, name: &str) -> String {
    if dir == "/" { format!("/{name}") } else { format!("{dir}/{name}") }
}

impl Store {
    pub fn new() -> Store {
        let root = Node::new("/", 0, None, Content::Dir(BTreeMap::new()));
        Store { root, index: 1, events: Vec::new() }
    }

    /// `GET`.
    pub fn get(&self, path: &str, recursive: bool) -> Result<Shown, Refused> {
        self.find(path).map(|node| node.listed(recursive))
    }

    /// The value and modifiedIndex of the file at `path`.
    pub fn file(&self, path: &str) -> Option<(&[u8], u64)> {
        match self.find(path) {
            Ok(Node { content: Content::File(value), modified, .. }) => Some((value, *modified)),
            _ => None,
        }
    }

    /// How many nodes have a TTL.
    pub fn ttls(&self) -> usize {
        self.root.ttls()
    }

    /// Carries out a write at the time `now`.
    pub fn apply(&mut self, command: &V2Command, now: u64) -> Result<Event, Refused> {
        let path = std::str::from_utf8(&command.path).expect("the paths of these tests are text");
        let event = match &command.op {
            V2Op::Set(write) => self.set(path, write, now),
            V2Op::Create(write) => self.internal_create("create", path, write, false, now),
            V2Op::CreateInOrder(write) => {
                let path = join(path, &format!("{:020}", self.index + 1));
                self.internal_create("create", &path, write, false, now)
            }
            V2Op::Update(write) => self.update(path, write, now),
            V2Op::CompareAndSwap { compare, write } => {
                self.compare_and_swap(path, compare, write, now)
            }
            V2Op::Delete { dir, recursive } => self.delete(path, *dir, *recursive),
            V2Op::CompareAndDelete(compare) => self.compare_and_delete(path, compare),
        }?;
        self.index = event.index;
        self.events.push(event.clone());
        Ok(event)
    }

    /// Ends everything whose time has come, in the order of the times.
    pub fn expire(&mut self, now: u64) -> Vec<Event> {
        let before = self.events.len();
        while let Some((_, path)) = self.root.first_due(now) {
            let node = self.find(&path).expect("it is due, so it is there").clone();
            let event = self.end(&node, "expire");
            self.index = event.index;
            self.events.push(event);
        }
        self.events[before..].to_vec()
    }

    fn refuse(&self, code: u16, cause: &str) -> Refused {
        Refused { code, cause: cause.to_owned(), index: self.index }
    }

    /// etcd's internalGet.
    fn find(&self, path: &str) -> Result<&Node, Refused> {
        let mut node = &self.root;
        for name in names(path) {
            let children = node.children().ok_or_else(|| self.refuse(104, &node.path))?;
            let missing = || self.refuse(100, &join(&node.path, name));
            node = children.get(name).ok_or_else(missing)?;
        }
        Ok(node)
    }

    fn find_mut(&mut self, path: &str) -> &mut Node {
        names(path).fold(&mut self.root, |node, name| match &mut node.content {
            Content::Dir(children) => children.get_mut(name).expect("it was found before"),
            Content::File(_) => unreachable!("it was found before"),
        })
    }

    fn expires(&self, write: &V2Write, now: u64) -> Option<(u64, u64)> {
        // Callboard: a TTL beyond the year 2262 is that year. etcd's time overflows.
        let end = |ttl: u64| now.saturating_add(ttl.saturating_mul(1_000_000_000));
        write.ttl.map(|ttl| (end(ttl).min(i64::MAX as u64), self.index + 1))
    }

    fn set(&mut self, path: &str, write: &V2Write, now: u64) -> Result<Event, Refused> {
        let mut write = write.clone();
        let before = match self.find(path) {
            Ok(node) => Some(node.clone()),
            Err(refused) if refused.code != 100 => return Err(refused),
            Err(refused) if write.refresh => return Err(refused),
            Err(_) => None,
        };
        if write.refresh
            && let Some(Node { content: Content::File(value), .. }) = &before
        {
            write.value = value.clone().into();
        }
        let event = self.internal_create("set", path, &write, true, now)?;
        Ok(Event { refresh: write.refresh, ..event })
    }

    fn internal_create(
        &mut self,
        action: &'static str,
        path: &str,
        write: &V2Write,
        replace: bool,
        now: u64,
    ) -> Result<Event, Refused> {
        let Some((dir_path, name)) = path.rsplit_once('/').filter(|(_, name)| !name.is_empty())
        else {
            return Err(self.refuse(107, "/"));
        };
        let index = self.index + 1;
        let expires = self.expires(write, now);
        let (not_file, exists) = (self.refuse(102, path), self.refuse(105, path));
        let children = self.check_dirs(dir_path)?;
        let before = children.get(name).map(Node::shown);
        match &before {
            Some(Shown { what: What::Dir, .. }) if replace => return Err(not_file),
            Some(_) if !replace => return Err(exists),
            _ => {}
        }
        let content = if write.dir {
            Content::Dir(BTreeMap::new())
        } else {
            Content::File(write.value.to_vec())
        };
        let node = Node::new(path, index, expires, content);
        let shown = node.shown();
        children.insert(name.to_owned(), node);
        let (prev, removed) = (before, Vec::new());
        Ok(Event { index, action, node: shown, prev, refresh: false, removed })
    }

    /// etcd's walk with checkDir: the children of the directory at `path`, made where it is missing.
    fn check_dirs(&mut self, path: &str) -> Result<&mut BTreeMap<String, Node>, Refused> {
        let index = self.index;
        let mut node = &mut self.root;
        for name in names(path) {
            let below = join(&node.path, name);
            let Content::Dir(children) = &mut node.content else {
                return Err(Refused { code: 104, cause: node.path.clone(), index });
            };
            node = children.entry(name.to_owned()).or_insert_with(|| {
                Node::new(&below, index + 1, None, Content::Dir(BTreeMap::new()))
            });
        }
        match &mut node.content {
            Content::Dir(children) => Ok(children),
            Content::File(_) => Err(Refused { code: 104, cause: node.path.clone(), index }),
        }
    }

    fn update(&mut self, path: &str, write: &V2Write, now: u64) -> Result<Event, Refused> {
        if path == "/" {
            return Err(self.refuse(107, "/"));
        }
        let before = self.find(path)?.clone();
        if before.is_dir() && !write.value.is_empty() {
            return Err(self.refuse(102, path));
        }
        Ok(self.rewrite("update", &before, write, now))
    }

    fn compare_and_swap(
        &mut self,
        path: &str,
        compare: &V2Compare,
        write: &V2Write,
        now: u64,
    ) -> Result<Event, Refused> {
        if path == "/" {
            return Err(self.refuse(107, "/"));
        }
        let before = self.find_compared(path, path, compare)?.clone();
        Ok(self.rewrite("compareAndSwap", &before, write, now))
    }

    fn compare_and_delete(&mut self, path: &str, compare: &V2Compare) -> Result<Event, Refused> {
        let cause = if path == "/" { "" } else { path }; // the root has no name to its own door
        let before = self.find_compared(path, cause, compare)?.clone();
        Ok(self.end(&before, "compareAndDelete"))
    }

    fn find_compared(
        &self,
        path: &str,
        cause: &str,
        compare: &V2Compare,
    ) -> Result<&Node, Refused> {
        let node = self.find(path)?;
        let Content::File(value) = &node.content else { return Err(self.refuse(102, cause)) };
        let text = String::from_utf8_lossy;
        let mut wrong = Vec::new();
        if !compare.prev_value.is_empty() && compare.prev_value != *value {
            wrong.push(format!("[{} != {}]", text(&compare.prev_value), text(value)));
        }
        if compare.prev_index != 0 && compare.prev_index != node.modified {
            wrong.push(format!("[{} != {}]", compare.prev_index, node.modified));
        }
        if wrong.is_empty() { Ok(node) } else { Err(self.refuse(101, &wrong.join(" "))) }
    }

    /// Writes to a node that exists: it keeps its creation.
    fn rewrite(&mut self, action: &'static str, before: &Node, write: &V2Write, now: u64) -> Event {
        let index = self.index + 1;
        let expires = self.expires(write, now);
        let node = self.find_mut(&before.path);
        node.expires = expires;
        if let Content::File(value) = &mut node.content {
            if !write.refresh {
                *value = write.value.to_vec();
            }
            node.modified = index; // etcd forgets this for a directory
        }
        let shown = Shown { modified: index, ..node.shown() };
        let (prev, refresh) = (Some(before.shown()), write.refresh);
        Event { index, action, node: shown, prev, refresh, removed: Vec::new() }
    }

    fn delete(&mut self, path: &str, dir: bool, recursive: bool) -> Result<Event, Refused> {
        if path == "/" {
            return Err(self.refuse(107, "/"));
        }
        let node = self.find(path)?.clone();
        if let Some(children) = node.children() {
            if !dir && !recursive {
                return Err(self.refuse(102, path));
            }
            if !children.is_empty() && !recursive {
                return Err(self.refuse(108, path));
            }
        }
        Ok(self.end(&node, "delete"))
    }

    /// Takes a node out of the tree. Its parents stay.
    fn end(&mut self, before: &Node, action: &'static str) -> Event {
        let (dir, name) = before.path.rsplit_once('/').expect("the root does not end");
        if let Content::Dir(children) = &mut self.find_mut(dir).content {
            children.remove(name);
        }
        let index = self.index + 1;
        let what = if before.is_dir() { What::Dir } else { What::Gone };
        let node = Shown { what, expires: None, modified: index, ..before.shown() };
        let mut removed = if before.is_dir() { before.paths() } else { Vec::new() };
        removed.sort();
        Event { index, action, node, prev: Some(before.shown()), refresh: false, removed }
    }
}

impl Watch {
    /// Whether it is told of the event as it happens.
    pub fn sees_live(&self, event: &Event) -> bool {
        let key = &event.node.key;
        let hidden = |below: &str| names(below).any(|name| name.starts_with('_'));
        !event.refresh
            && (self.path == *key
                || self.recursive && self.below(key).is_some_and(|below| !hidden(below))
                || event.removed.contains(&self.path))
    }

    /// Whether it is told of the event from history: there, a directory's end is told to watchers of
    /// all paths below it, whether they existed or not.
    pub fn sees_in_history(&self, event: &Event) -> bool {
        let dir = Watch { path: event.node.key.clone(), recursive: true };
        let below_removed = !event.removed.is_empty() && dir.below(&self.path).is_some();
        self.sees_live(event) || below_removed && !event.refresh
    }

    /// What of `key` is below the watched path.
    fn below<'a>(&self, key: &'a str) -> Option<&'a str> {
        let dir = if self.path == "/" { "" } else { &self.path };
        key.strip_prefix(dir).filter(|rest| rest.len() > 1 && rest.starts_with('/'))
    }
}
