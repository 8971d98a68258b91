//! As much of Rust's grammar as the rules need: which text is code, and where
//! functions begin and end.

/// A function and how long it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// Its name.
    pub(super) name: String,
    /// The line of its `fn`, from 1.
    pub(super) line: usize,
    /// How many lines there are from its `fn` to its last brace.
    pub(super) lines: usize,
}

/// `text` with everything that is not code replaced by spaces: comments,
/// strings and characters. Lines stay where they are.
pub(super) fn code(text: &str) -> String {
    let mut scanner = Scanner {
        rest: text,
        code: String::with_capacity(text.len()),
    };
    while scanner.step() {}
    scanner.code
}

/// The functions in `code`, which [`code`] gave, in the order of their ends.
pub(super) fn functions(code: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut open: Vec<Option<(String, usize)>> = Vec::new();
    let mut declared: Option<(String, usize)> = None;
    for (number, line) in code.lines().enumerate() {
        let mut words = line;
        while let Some(next) = words.chars().next() {
            if let Some((name, rest)) = declaration(line, words) {
                declared = Some((name.to_owned(), number));
                words = rest;
                continue;
            }
            match next {
                '{' => open.push(declared.take()),
                // A declaration without a body, as in a trait.
                ';' => declared = None,
                '}' => {
                    if let Some(Some((name, start))) = open.pop() {
                        functions.push(Function {
                            name,
                            line: start + 1,
                            lines: number - start + 1,
                        });
                    }
                }
                _ => {}
            }
            words = &words[next.len_utf8()..];
        }
    }
    functions
}

/// Whether `code` names `word`, as a word of its own.
pub(super) fn names(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// The name of the function that `words`, which is the end of `line`, begins to
/// declare, and what follows it.
fn declaration<'a>(line: &str, words: &'a str) -> Option<(&'a str, &'a str)> {
    let rest = words.strip_prefix("fn ")?;
    let before = line[..line.len() - words.len()].chars().next_back();
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (end > 0).then(|| rest.split_at(end))
}

struct Scanner<'a> {
    rest: &'a str,
    code: String,
}

// === impl Scanner ===

impl Scanner<'_> {
    /// Takes one piece of code or of what is not; false at the end.
    fn step(&mut self) -> bool {
        let Some(next) = self.rest.chars().next() else {
            return false;
        };
        if self.rest.starts_with("//") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.blank(end);
        } else if self.rest.starts_with("/*") {
            self.blank(block_comment(self.rest));
        } else if next == '"' {
            self.blank(string(self.rest));
        } else if let Some(length) = raw_string(self.rest).filter(|_| !self.in_a_word()) {
            self.blank(length);
        } else if let Some(length) = character(self.rest) {
            self.blank(length);
        } else {
            self.code.push(next);
            self.rest = &self.rest[next.len_utf8()..];
        }
        true
    }

    fn in_a_word(&self) -> bool {
        let last = self.code.chars().next_back();
        last.is_some_and(|c| c != 'b' && (c.is_alphanumeric() || c == '_'))
    }

    fn blank(&mut self, length: usize) {
        let (blanked, rest) = self.rest.split_at(length);
        self.code
            .extend(blanked.chars().map(|c| if c == '\n' { c } else { ' ' }));
        self.rest = rest;
    }
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r')?;
    let count = hashes.len() - hashes.trim_start_matches('#').len();
    hashes[count..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(count));
    let start = count + 2;
    let end = text[start..].find(&close)?;
    Some(start + end + close.len())
}

/// A character, which a lifetime is not.
fn character(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    if inner.starts_with('\\') {
        return Some(inner[2..].find('\'')? + 4);
    }
    let first = inner.chars().next()?;
    inner[first.len_utf8()..]
        .starts_with('\'')
        .then(|| first.len_utf8() + 2)
}

#[cfg(test)]
mod tests {
    //! The scanner itself.

    use super::{Function, code, functions, names};

    #[test]
    fn comments_strings_and_characters_are_not_code() {
        let text = "a // b\nc /* d /* e */ f */ g \"h \\\" i\" j r#\"k \" l\"# m '\\'' n 'o' p<'q>";
        let code = code(text);
        for word in ["a", "c", "g", "j", "m", "n", "p", "q"] {
            assert!(names(&code, word), "{word} is code: {code}");
        }
        for word in ["b", "d", "e", "f", "h", "i", "k", "l", "o"] {
            assert!(!names(&code, word), "{word} is not code: {code}");
        }
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn functions_are_found_with_their_lengths() {
        let text = "trait T { fn none(&self); }\nfn one() {}\nfn two(f: fn(u8)) {\n  let a = || {\n  };\n}\n";
        let function = |name: &str, line, lines| Function {
            name: name.to_owned(),
            line,
            lines,
        };
        assert_eq!(
            functions(text),
            [function("one", 2, 1), function("two", 3, 4)]
        );
    }

    #[test]
    fn a_name_is_a_whole_word() {
        assert!(names("use wasmtime::Engine;", "wasmtime"));
        assert!(!names("use wasmtime_wasi::Engine;", "wasmtime"));
    }
}
