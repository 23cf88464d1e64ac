//! Golden files: how a conversation is written down. `tests/golden/README.md` says it for readers.

use super::http::{Request, escape};

/// A block between blank lines: a comment of its own, or a case.
#[derive(Debug)]
pub struct Case {
    /// Comments and steps: everything above `----`.
    pub script: String,
    /// The answers below it; `None` for a block of comments.
    pub answers: Option<String>,
}

impl Case {
    /// The steps with the lines that they were read from.
    pub fn steps(&self) -> Vec<(&str, Result<Step, String>)> {
        let lines = self.script.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| (line, Step::parse(line))).collect()
    }

    /// The block as it stands in the file.
    pub fn text(&self, answers: &str) -> String {
        format!("{}\n----\n{answers}\n", self.script)
    }
}

/// Splits a golden file into its blocks.
pub fn cases(file: &str) -> Vec<Case> {
    let blocks = file.trim_end().split("\n\n").map(|block| block.trim_matches('\n'));
    blocks
        .map(|block| match block.split_once("\n----") {
            Some((script, answers)) => {
                Case { script: script.into(), answers: Some(answers.trim().into()) }
            }
            None => Case { script: block.into(), answers: None },
        })
        .collect()
}

/// One line of a script.
#[derive(Debug)]
pub enum Step {
    /// Send a request, print the answer.
    Send(Template),
    /// Send it again and again until the printed answer contains the text; print that answer.
    Eventually(String, Template),
    /// `w = …`: send a request on a connection of its own and print the head of the answer.
    Open(String, Template),
    /// Print the next line of the body of `w`.
    Next(String),
    /// Print the rest of the body of `w`, up to its end.
    Await(String),
    /// Hang up `w`.
    Hangup(String),
}

/// A request whose words may still hold `<…>`.
#[derive(Debug)]
pub struct Template {
    method: String,
    target: String,
    headers: Vec<String>,
    fields: Vec<(String, String)>,
    data: Option<String>,
    /// Print every header.
    pub all_headers: bool,
    /// Print status and headers, but no body.
    pub no_body: bool,
    /// Print only the status.
    pub status_only: bool,
}

impl Step {
    fn parse(line: &str) -> Result<Self, String> {
        let words = words(line)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Ok(match words[..] {
            ["next", name] => Self::Next(name.into()),
            ["await", name] => Self::Await(name.into()),
            ["hangup", name] => Self::Hangup(name.into()),
            ["eventually", text, ref request @ ..] => {
                Self::Eventually(text.into(), Template::parse(request)?)
            }
            [name, "=", ref request @ ..] => Self::Open(name.into(), Template::parse(request)?),
            ref request => Self::Send(Template::parse(request)?),
        })
    }
}

impl Template {
    fn parse(words: &[&str]) -> Result<Self, String> {
        let [method, target, rest @ ..] = words else { return Err("what request?".into()) };
        let mut template = Self {
            method: (*method).into(),
            target: (*target).into(),
            headers: Vec::new(),
            fields: Vec::new(),
            data: None,
            all_headers: false,
            no_body: false,
            status_only: false,
        };
        let mut rest = rest.iter();
        while let Some(&word) = rest.next() {
            match word {
                "--headers" => template.all_headers = true,
                "--no-body" => template.no_body = true,
                "--status-only" => template.status_only = true,
                "--data" => template.data = Some((*rest.next().ok_or("what data?")?).into()),
                "-H" => template.headers.push((*rest.next().ok_or("what header?")?).into()),
                _ => {
                    let (name, value) = word.split_once('=').ok_or(format!("what is {word}?"))?;
                    template.fields.push((name.into(), value.into()));
                }
            }
        }
        Ok(template)
    }

    /// The request line's path and query, with `<…>` filled in.
    pub fn target(&self, fill: impl Fn(&str) -> String) -> String {
        fill(&self.target)
    }

    /// All the words that may hold parameters, as written.
    pub fn parameters(&self) -> String {
        let fields: Vec<_> = self.fields.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let query = self.target.split_once('?').unwrap_or_default().1;
        format!("{query}&{}&{}", fields.join("&"), self.data.as_deref().unwrap_or_default())
    }

    /// The request with `<…>` filled in.
    pub fn request(&self, fill: impl Fn(&str) -> String) -> Request {
        let mut request = Request::new(&self.method, &fill(&self.target));
        let mut typed = false;
        for header in &self.headers {
            let (name, value) = header.split_once(':').unwrap_or((header, ""));
            typed |= name.eq_ignore_ascii_case("Content-Type");
            if !value.trim().is_empty() {
                request = request.header(name, &fill(value.trim()));
            }
        }
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|(n, v)| format!("{}={}", escape(n), escape(&fill(v))))
            .collect();
        let body = match &self.data {
            Some(data) => fill(data),
            None if fields.is_empty() => return request,
            None => fields.join("&"),
        };
        if !typed {
            request = request.header("Content-Type", "application/x-www-form-urlencoded");
        }
        request.body(body)
    }
}

/// Splits at blanks; `'…'` holds blanks together.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quoted, mut empty) = (Vec::new(), String::new(), false, true);
    for c in line.chars() {
        match c {
            '\'' => (quoted, empty) = (!quoted, false),
            ' ' if !quoted => {
                if !empty {
                    words.push(std::mem::take(&mut word));
                }
                empty = true;
            }
            c => {
                word.push(c);
                empty = false;
            }
        }
    }
    if !empty {
        words.push(word);
    }
    if quoted { Err("a quote is not closed".into()) } else { Ok(words) }
}
