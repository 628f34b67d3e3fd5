//! From a format's text to its parts.

use serde_json::Value;

/// How deep actions and parentheses may stand in each other.
const DEEPEST: usize = 64;

#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If { branches: Vec<Branch>, otherwise: Vec<Node> },
    Range { key: Option<String>, value: Option<String>, pipe: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    With { pipe: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
}

#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub(super) condition: Pipe,
    pub(super) then: Vec<Node>,
}

/// Commands, each given what the one before it made.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    /// The variable that is set to the result.
    pub(super) sets: Option<String>,
    pub(super) commands: Vec<Vec<Expression>>,
}

impl Pipe {
    /// The last field that stands in it: what a column is called after.
    pub(super) fn field(&self) -> Option<&str> {
        let operands = self.commands.iter().flatten();
        operands.into_iter().find_map(|operand| match operand {
            Expression::Field(path) => path.last().map(String::as_str),
            _ => None,
        })
    }
}

#[derive(Debug, Clone)]
pub(super) enum Expression {
    Literal(Value),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Pipe(Pipe, Vec<String>),
    Function(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Literal(Value),
    /// `.A.B`; `.` alone is empty.
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Word(String),
    Open,
    /// A parenthesis with the fields behind it.
    Close(Vec<String>),
    Bar,
    Comma,
    Set,
}

/// A piece of the format: text, or what stands between the braces.
enum Piece {
    Text(String),
    Action(String),
}

pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut pieces = split(text)?.into_iter();
    let (nodes, end) = block(&mut pieces, 0)?;
    match end {
        None => Ok(nodes),
        Some(end) => Err(format!("{{{{{end}}}}} without what it ends")),
    }
}

fn split(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim = false;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (mut before, mut behind) = (before, behind);
        if trim {
            before = before.trim_start();
        }
        if let Some(marked) = behind.strip_prefix('-').filter(|marked| marked.starts_with([' ', '\t', '\n']))
        {
            before = before.trim_end();
            behind = marked;
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let end = end_of_action(behind)?;
        let (action, after) = behind.split_at(end);
        rest = after.get(2..).unwrap_or_default();
        let marked = action.strip_suffix('-').filter(|action| action.ends_with([' ', '\t', '\n']));
        trim = marked.is_some();
        let action = marked.unwrap_or(action).trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            pieces.push(Piece::Action(action.to_owned()));
        }
    }
    let rest = if trim { rest.trim_start() } else { rest };
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

/// Where the closing braces stand; those in a text do not count.
fn end_of_action(text: &str) -> Result<usize, String> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            None if matches!(c, '"' | '`') => quote = Some(c),
            None if text[at..].starts_with("}}") => return Ok(at),
            _ => {}
        }
    }
    match quote {
        Some(_) => Err("a text is not closed".to_owned()),
        None => Err("an action is not closed by }}".to_owned()),
    }
}

/// Nodes up to `end` or `else`, which is given back with what stands behind it.
fn block(
    pieces: &mut std::vec::IntoIter<Piece>,
    depth: usize,
) -> Result<(Vec<Node>, Option<String>), String> {
    if depth > DEEPEST {
        return Err(format!("actions stand in each other more than {DEEPEST} deep"));
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let action = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(action) => action,
        };
        let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((&action, ""));
        match word {
            "end" | "else" => return Ok((nodes, Some(action))),
            "if" => nodes.push(choice(pieces, rest, depth)?),
            "with" => {
                let pipe = pipe(rest)?;
                let (then, otherwise) = two(pieces, word, depth)?;
                nodes.push(Node::With { pipe, then, otherwise });
            }
            "range" => {
                let (names, over) = match rest.split_once(":=") {
                    Some((names, over)) => (names, over),
                    None => ("", rest),
                };
                let names: Vec<String> = names
                    .split(',')
                    .map(|name| name.trim().trim_start_matches('$').to_owned())
                    .filter(|name| !name.is_empty())
                    .collect();
                let (key, value) = match names.as_slice() {
                    [] => (None, None),
                    [value] => (None, Some(value.clone())),
                    [key, value] => (Some(key.clone()), Some(value.clone())),
                    _ => return Err("range sets two variables at most".to_owned()),
                };
                let pipe = pipe(over)?;
                let (then, otherwise) = two(pieces, word, depth)?;
                nodes.push(Node::Range { key, value, pipe, then, otherwise });
            }
            _ => nodes.push(Node::Action(pipe(&action)?)),
        }
    }
    Ok((nodes, None))
}

fn two(
    pieces: &mut std::vec::IntoIter<Piece>,
    word: &str,
    depth: usize,
) -> Result<(Vec<Node>, Vec<Node>), String> {
    let (then, end) = block(pieces, depth + 1)?;
    match end.as_deref() {
        Some("end") => Ok((then, Vec::new())),
        Some("else") => match block(pieces, depth + 1)? {
            (otherwise, Some(end)) if end == "end" => Ok((then, otherwise)),
            _ => Err(format!("{word} … else without its {{{{end}}}}")),
        },
        _ => Err(format!("{word} without its {{{{end}}}}")),
    }
}

fn choice(pieces: &mut std::vec::IntoIter<Piece>, condition: &str, depth: usize) -> Result<Node, String> {
    let mut branches = Vec::new();
    let mut condition = pipe(condition)?;
    loop {
        let (then, end) = block(pieces, depth + 1)?;
        branches.push(Branch { condition, then });
        let end = end.ok_or_else(|| "if without its {{end}}".to_owned())?;
        let behind = match end.as_str() {
            "end" => return Ok(Node::If { branches, otherwise: Vec::new() }),
            "else" => match block(pieces, depth + 1)? {
                (otherwise, Some(end)) if end == "end" => return Ok(Node::If { branches, otherwise }),
                _ => return Err("if … else without its {{end}}".to_owned()),
            },
            other => other.trim_start_matches("else").trim_start(),
        };
        let next = behind.strip_prefix("if").filter(|rest| rest.starts_with(char::is_whitespace));
        condition = pipe(next.ok_or_else(|| format!("{{{{else {behind}}}}} is not known"))?)?;
    }
}

fn pipe(text: &str) -> Result<Pipe, String> {
    let tokens = tokens(text)?;
    let mut tokens = tokens.as_slice();
    let mut sets = None;
    if let [Token::Variable(name, path), Token::Set, rest @ ..] = tokens
        && path.is_empty()
    {
        sets = Some(name.clone());
        tokens = rest;
    }
    let (commands, rest) = commands(tokens, 0)?;
    if !rest.is_empty() {
        return Err(format!("{text:?} cannot be read to its end"));
    }
    Ok(Pipe { sets, commands })
}

type Commands<'t> = (Vec<Vec<Expression>>, &'t [Token]);

fn commands(mut tokens: &[Token], depth: usize) -> Result<Commands<'_>, String> {
    if depth > DEEPEST {
        return Err(format!("parentheses stand in each other more than {DEEPEST} deep"));
    }
    let mut all = Vec::new();
    let mut one = Vec::new();
    while let [token, rest @ ..] = tokens {
        if depth > 0 && matches!(token, Token::Close(_)) {
            // the caller takes the parenthesis
            break;
        }
        tokens = rest;
        one.push(match token {
            Token::Literal(value) => Expression::Literal(value.clone()),
            Token::Field(path) => Expression::Field(path.clone()),
            Token::Variable(name, path) => Expression::Variable(name.clone(), path.clone()),
            Token::Word(word) => Expression::Function(word.clone()),
            Token::Bar => {
                if one.is_empty() {
                    return Err("nothing stands before |".to_owned());
                }
                all.push(std::mem::take(&mut one));
                continue;
            }
            Token::Open => {
                let (commands, behind) = commands(rest, depth + 1)?;
                let [Token::Close(path), behind @ ..] = behind else {
                    return Err("a parenthesis is not closed".to_owned());
                };
                tokens = behind;
                Expression::Pipe(Pipe { sets: None, commands }, path.clone())
            }
            Token::Close(_) | Token::Comma | Token::Set => {
                return Err("there is a ), a comma or a := too much".to_owned());
            }
        });
    }
    all.push(one);
    finished(all).map(|all| (all, tokens))
}

fn finished(all: Vec<Vec<Expression>>) -> Result<Vec<Vec<Expression>>, String> {
    if all.iter().any(Vec::is_empty) { Err("an action or parenthesis is empty".to_owned()) } else { Ok(all) }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, behind) = match first {
            '(' => (Token::Open, &rest[1..]),
            ')' => {
                let (path, behind) = path(&rest[1..])?;
                (Token::Close(path), behind)
            }
            '|' => (Token::Bar, &rest[1..]),
            ',' => (Token::Comma, &rest[1..]),
            ':' if rest.starts_with(":=") => (Token::Set, &rest[2..]),
            '.' => {
                let (path, behind) = path(rest)?;
                let behind = if path.is_empty() { &rest[1..] } else { behind };
                (Token::Field(path), behind)
            }
            '$' => {
                let end = end_of_word(&rest[1..]) + 1;
                let (path, behind) = path(&rest[end..])?;
                (Token::Variable(rest[1..end].to_owned(), path), behind)
            }
            '"' | '`' => literal(rest)?,
            '0'..='9' | '-' | '+' => {
                let end = rest.find(|c: char| c.is_whitespace() || "()|,".contains(c)).unwrap_or(rest.len());
                let number = &rest[..end];
                let value = number.parse::<i64>().map(Value::from).ok();
                let value = value.or_else(|| number.parse::<f64>().ok().map(Value::from));
                (Token::Literal(value.ok_or_else(|| format!("{number:?} is no number"))?), &rest[end..])
            }
            _ => {
                let end = end_of_word(rest);
                if end == 0 {
                    return Err(format!("{first:?} cannot stand here"));
                }
                let token = match &rest[..end] {
                    "true" => Token::Literal(true.into()),
                    "false" => Token::Literal(false.into()),
                    "nil" => Token::Literal(Value::Null),
                    word => Token::Word(word.to_owned()),
                };
                (token, &rest[end..])
            }
        };
        tokens.push(token);
        rest = behind.trim_start();
    }
    Ok(tokens)
}

fn end_of_word(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())
}

/// `.A.B` with what stands behind it.
fn path(mut text: &str) -> Result<(Vec<String>, &str), String> {
    let mut names = Vec::new();
    while let Some(behind) = text.strip_prefix('.') {
        let end = end_of_word(behind);
        if end == 0 {
            if names.is_empty() {
                break;
            }
            return Err("no name stands behind a dot".to_owned());
        }
        names.push(behind[..end].to_owned());
        text = &behind[end..];
    }
    Ok((names, text))
}

fn literal(text: &str) -> Result<(Token, &str), String> {
    let not_closed = || "a text is not closed".to_owned();
    if let Some(raw) = text.strip_prefix('`') {
        let (content, behind) = raw.split_once('`').ok_or_else(not_closed)?;
        return Ok((Token::Literal(content.into()), behind));
    }
    let mut content = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Literal(content.into()), &text[at + 1..])),
            '\\' => content.push(match chars.next().ok_or_else(not_closed)?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            other => content.push(other),
        }
    }
    Err(not_closed())
}
