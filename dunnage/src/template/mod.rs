//! `--format`: the part of Go's `text/template` that people use with `docker`, over JSON values.
//!
//! Fields (`.State.Status`), variables, pipes, parentheses, `if`, `with` and `range` with `else`, comments, trim marks, the comparisons, and `json`,
//! `join`, `split`, `lower`, `upper`, `title`, `truncate`, `pad`, `len`, `index`, `slice`, `print`, `println`, `printf`, `and`, `or`,
//! `not`. A field or function that is not there is an error that names it and what there is.

mod call;
mod parse;

use serde_json::Value;

use self::parse::{Branch, Expression, Node, Pipe};

/// A format, read once and written for each object.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

impl Template {
    /// Reads a format. Backslash escapes for tab and line feed are taken, as a shell does not make them.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        Ok(Self { nodes: parse::parse(&text).map_err(|error| format!("format: {error}"))? })
    }

    /// One object in this format.
    pub(crate) fn render(&self, object: &Value) -> Result<String, String> {
        let mut output = String::new();
        let mut scope = Scope { root: object, variables: Vec::new() };
        render(&self.nodes, object, &mut scope, &mut output).map_err(|error| format!("format: {error}"))?;
        Ok(output)
    }

    /// The column titles of a `table` format: the fields' names in capitals, `.CreatedAt` as `CREATED AT`.
    pub(crate) fn titles(&self, known: impl Fn(&str) -> Option<String>) -> String {
        let mut output = String::new();
        for node in &self.nodes {
            match node {
                Node::Text(text) => output.push_str(text),
                Node::Action(pipe) => {
                    if let Some(field) = pipe.field() {
                        output.push_str(&known(field).unwrap_or_else(|| field.to_uppercase()));
                    }
                }
                Node::If { .. } | Node::Range { .. } | Node::With { .. } => {}
            }
        }
        output
    }
}

struct Scope<'a> {
    root: &'a Value,
    variables: Vec<(String, Value)>,
}

fn render(nodes: &[Node], dot: &Value, scope: &mut Scope<'_>, output: &mut String) -> Result<(), String> {
    for node in nodes {
        match node {
            Node::Text(text) => output.push_str(text),
            Node::Action(pipe) => {
                let value = evaluate(pipe, dot, scope)?;
                match &pipe.sets {
                    Some(name) => scope.variables.push((name.clone(), value)),
                    None => output.push_str(&call::text(&value)),
                }
            }
            Node::If { branches, otherwise } => {
                let depth = scope.variables.len();
                let mut chosen = otherwise;
                for Branch { condition, then } in branches {
                    if call::truth(&evaluate(condition, dot, scope)?) {
                        chosen = then;
                        break;
                    }
                }
                render(chosen, dot, scope, output)?;
                scope.variables.truncate(depth);
            }
            Node::With { pipe, then, otherwise } => {
                let depth = scope.variables.len();
                let value = evaluate(pipe, dot, scope)?;
                if call::truth(&value) {
                    if let Some(name) = &pipe.sets {
                        scope.variables.push((name.clone(), value.clone()));
                    }
                    render(then, &value, scope, output)?;
                } else {
                    render(otherwise, dot, scope, output)?;
                }
                scope.variables.truncate(depth);
            }
            Node::Range { key, value, pipe, then, otherwise } => {
                let depth = scope.variables.len();
                let over = evaluate(pipe, dot, scope)?;
                let items: Vec<(Value, Value)> = match over {
                    Value::Array(list) => {
                        list.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect()
                    }
                    Value::Object(map) => map.into_iter().map(|(key, item)| (key.into(), item)).collect(),
                    Value::Null => Vec::new(),
                    other => {
                        return Err(format!(
                            "range over {}, which is no list and no map",
                            call::kind(&other)
                        ));
                    }
                };
                if items.is_empty() {
                    render(otherwise, dot, scope, output)?;
                }
                for (at, item) in items {
                    if let Some(name) = key {
                        scope.variables.push((name.clone(), at));
                    }
                    if let Some(name) = value {
                        scope.variables.push((name.clone(), item.clone()));
                    }
                    render(then, &item, scope, output)?;
                    scope.variables.truncate(depth);
                }
            }
        }
    }
    Ok(())
}

fn evaluate(pipe: &Pipe, dot: &Value, scope: &Scope<'_>) -> Result<Value, String> {
    let mut last = None;
    for command in &pipe.commands {
        last = Some(command_value(command, dot, scope, last)?);
    }
    last.ok_or_else(|| "an empty action".to_owned())
}

/// A command is a function with its arguments, or one operand.
fn command_value(
    command: &[Expression],
    dot: &Value,
    scope: &Scope<'_>,
    piped: Option<Value>,
) -> Result<Value, String> {
    match command {
        [Expression::Function(name), rest @ ..] => {
            let mut arguments = rest
                .iter()
                .map(|operand| operand_value(operand, dot, scope))
                .collect::<Result<Vec<_>, _>>()?;
            arguments.extend(piped);
            call::call(name, &arguments)
        }
        [operand] if piped.is_none() => operand_value(operand, dot, scope),
        _ => Err("only a function takes arguments".to_owned()),
    }
}

fn operand_value(operand: &Expression, dot: &Value, scope: &Scope<'_>) -> Result<Value, String> {
    match operand {
        Expression::Literal(value) => Ok(value.clone()),
        Expression::Field(path) => fields(dot, path),
        Expression::Variable(name, path) => {
            let found = match name.as_str() {
                "" => scope.root,
                name => {
                    let found = scope.variables.iter().rev().find(|(known, _)| known == name);
                    &found.ok_or_else(|| format!("there is no variable ${name}"))?.1
                }
            };
            fields(found, path)
        }
        Expression::Pipe(pipe, path) => fields(&evaluate(pipe, dot, scope)?, path),
        Expression::Function(name) => call::call(name, &[]),
    }
}

fn fields(value: &Value, path: &[String]) -> Result<Value, String> {
    let mut at = value;
    for (depth, name) in path.iter().enumerate() {
        let whole = || format!(".{}", path[..=depth].join("."));
        at = match at {
            Value::Object(map) => map.get(name).ok_or_else(|| {
                let there: Vec<&str> = map.keys().take(60).map(String::as_str).collect();
                format!("{} is not there; there are {}", whole(), there.join(", "))
            })?,
            Value::Null => &Value::Null,
            other => return Err(format!("{} is not there: what holds it is {}", whole(), call::kind(other))),
        };
    }
    Ok(at.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(format: &str) -> Result<String, String> {
        let object = json!({
            "Name": "web", "Id": "0123456789abcdef", "Size": 12, "Up": true, "Tags": ["a", "b"],
            "State": { "Status": "running", "Code": 0 },
            "Ports": { "80/tcp": [{ "HostPort": "8080" }], "81/tcp": null },
        });
        Template::parse(format)?.render(&object)
    }

    #[test]
    fn formats_that_people_use_read_as_in_docker() {
        for (format, expected) in [
            ("{{.Name}}: {{.State.Status}}", "web: running"),
            ("{{json .Tags}}", "[\"a\",\"b\"]"),
            ("{{join .Tags \", \"}}|{{upper .Name}}", "a, b|WEB"),
            ("{{.Name | upper | printf \"%s!\"}}", "WEB!"),
            ("{{range .Tags}}<{{.}}>{{end}}", "<a><b>"),
            (
                "{{range $p, $c := .Ports}}{{$p}}{{if $c}}->{{(index $c 0).HostPort}}{{end}} {{end}}",
                "80/tcp->8080 81/tcp ",
            ),
            ("{{if and .Up (eq .State.Code 0)}}fine{{else}}bad{{end}}", "fine"),
            ("{{if not .Up}}a{{else if gt .Size 10}}b{{else}}c{{end}}", "b"),
            ("{{with .State}}{{.Status}}{{end}}", "running"),
            ("{{range .Nothing}}x{{else}}none{{end}}", "format: .Nothing is not there"),
            ("{{/* said to nobody */}}{{ .Name -}}   {{- len .Tags}}", "web2"),
            ("{{slice .Id 0 4}}{{truncate .Id 2}}", "012301"),
            ("{{$x := .Name}}{{$x}}{{$.Size}}", "web12"),
            ("{{.Name}}\\t{{index .Ports \"80/tcp\" 0 \"HostPort\"}}", "web\t8080"),
            ("{{title .Name}} {{println .Size}}", "Web 12\n"),
            ("{{printf \"%5d|%-4s|%q\" .Size .Name .Name}}", "   12|web |\"web\""),
        ] {
            match shown(format) {
                Ok(text) => assert_eq!(text, expected, "{format}"),
                Err(error) => assert!(error.starts_with(expected), "{format}: {error}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_format_is_said() {
        for (format, expected) in [
            ("{{.Nmae}}", ".Nmae is not there; there are"),
            ("{{.Name.X}}", ".Name.X is not there: what holds it is a text"),
            ("{{frobnicate .Name}}", "there is no function frobnicate"),
            ("{{.Name", "is not closed"),
            ("{{if .Name}}x", "without its {{end}}"),
            ("{{end}}", "{{end}} without"),
            ("{{range .Size}}{{end}}", "range over a number"),
            ("{{\"abc}}", "text is not closed"),
        ] {
            let error = shown(format).unwrap_err();
            assert!(error.contains(expected), "{format}: {error}");
        }
    }

    #[test]
    fn no_format_makes_the_reader_fail() {
        let deep = "{{if .Up}}".repeat(100_000);
        assert!(Template::parse(&deep).is_err());
        let parentheses = format!("{{{{{}", "(".repeat(100_000));
        assert!(Template::parse(&parentheses).is_err());
        // every prefix of a format, and every format with one character changed
        let format = "{{range $k, $v := .Ports}}{{if eq $k \"80/tcp\"}}{{(index $v 0).HostPort | printf \"%-5s\"}}{{end}}{{end}}";
        for at in 0..format.len() {
            let _ = shown(&format[..at]);
            for other in ["{", "}", "\"", "$", "|", "(", " ", ".", "é"] {
                let changed = format!("{}{other}{}", &format[..at], &format[at + 1..]);
                let _ = shown(&changed);
            }
        }
    }
}
