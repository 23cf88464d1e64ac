//! JSON as text: read into a tree that keeps the order of members and the spelling of scalars, so
//! that what is written again is byte for byte what was read (if it had no blanks).

/// A value. Strings keep their quotes and escapes, numbers their digits.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// Members in their order; names without quotes, escapes as they were.
    Object(Vec<(String, Json)>),
    /// Items in their order.
    Array(Vec<Json>),
    /// A string, number, boolean or null, as spelled.
    Scalar(String),
}

impl Json {
    /// Reads one value that fills `text`, or `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value()?;
        (reader.at == text.len()).then_some(value)
    }

    /// The member of that name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// A string without its quotes; escapes stay.
    pub fn as_str(&self) -> Option<&str> {
        let Self::Scalar(text) = self else { return None };
        text.strip_prefix('"')?.strip_suffix('"')
    }

    /// A whole number.
    pub fn as_i64(&self) -> Option<i64> {
        let Self::Scalar(text) = self else { return None };
        text.parse().ok()
    }

    /// A string value; `text` must need no escapes.
    pub fn string(text: &str) -> Self {
        Self::Scalar(format!("\"{text}\""))
    }
}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scalar(text) => write!(f, "{text}"),
            Self::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "[" } else { "," })?;
                }
                write!(f, "{}]", if items.is_empty() { "[" } else { "" })
            }
            Self::Object(members) => {
                for (i, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}\"{name}\":{value}", if i == 0 { "{" } else { "," })?;
                }
                write!(f, "{}}}", if members.is_empty() { "{" } else { "" })
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<Json> {
        match self.peek()? {
            b'{' => self.list(b'{', b'}', Self::member).map(Json::Object),
            b'[' => self.list(b'[', b']', Self::value).map(Json::Array),
            b'"' => self.string().map(|text| Json::Scalar(format!("\"{text}\""))),
            _ => {
                let rest = &self.text[self.at..];
                let scalar = rest.split([',', '}', ']']).next()?;
                self.at += scalar.len();
                let ok = matches!(scalar, "true" | "false" | "null")
                    || scalar.parse::<f64>().is_ok() && !scalar.contains(char::is_whitespace);
                ok.then(|| Json::Scalar(scalar.to_owned()))
            }
        }
    }

    fn member(&mut self) -> Option<(String, Json)> {
        let name = self.string()?;
        self.take(b':')?;
        Some((name, self.value()?))
    }

    fn list<T>(&mut self, open: u8, close: u8, item: fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.take(open)?;
        let mut items = Vec::new();
        if self.take(close).is_some() {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            if self.take(b',').is_none() {
                self.take(close)?;
                return Some(items);
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        let text = self.text.get(start..self.at)?.to_owned();
        self.take(b'"')?;
        Some(text)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found.then_some(())
    }
}
