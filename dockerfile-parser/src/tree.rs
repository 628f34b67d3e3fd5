//! The lossless layer: every byte of the source in a token.

use std::ops::Range;

use crate::dockerfile::{Dockerfile, continuation, line_at, space};
use crate::instruction::Instruction;
use crate::span::Span;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenKind {
    /// The byte order mark at the beginning.
    Bom,
    /// A parser directive.
    Directive,
    /// A comment, from `#` to the end of the line.
    Comment,
    /// An instruction's keyword.
    Keyword,
    /// A flag.
    Flag,
    /// Anything else that an instruction says, told apart at white space.
    Argument,
    /// White space within a line.
    Whitespace,
    /// The escape character that joins the next line, with the blanks behind it.
    Continuation,
    /// A line's end.
    Newline,
    /// The lines of a here-document.
    HeredocBody,
    /// The delimiter that ends one.
    HeredocEnd,
}

/// A piece of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it is.
    pub span: Span,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// An instruction, by its number in [`Dockerfile::instructions`].
    Instruction(usize),
    /// A parser directive, by its number in [`Dockerfile::directives`].
    Directive(usize),
    /// A comment's line.
    Comment,
    /// A line with nothing on it.
    Blank,
    /// The byte order mark.
    Bom,
}

/// Whole lines that belong together. The nodes of a file follow each other without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Its lines, with their ends.
    pub span: Span,
    /// Its tokens, in [`Tree::tokens`].
    pub tokens: Range<usize>,
}

/// The lossless tree: nodes of lines over tokens. Printing its tokens gives the source.
#[derive(Debug, Clone)]
pub struct Tree<'a> {
    file: &'a Dockerfile,
    tokens: Vec<Token>,
    nodes: Vec<Node>,
}

impl Dockerfile {
    /// The lossless layer, made on each call.
    pub fn tree(&self) -> Tree<'_> {
        let mut builder = Builder { source: self.source(), escape: self.escape_byte(), tokens: Vec::new() };
        let mut nodes = Vec::new();
        let mut at = self.bom();
        if at > 0 {
            builder.push(TokenKind::Bom, 0, at);
            nodes.push(Node { kind: NodeKind::Bom, span: Span::new(0, at), tokens: 0..1 });
        }
        let (mut instruction, mut directive) = (0, 0);
        while at < self.source().len() {
            let first = builder.tokens.len();
            let start = at;
            let (end, next) = line_at(self.source(), at);
            let kind = match self.instructions().get(instruction) {
                Some(found) if found.span.start < next => {
                    at = builder.instruction(found, at);
                    instruction += 1;
                    NodeKind::Instruction(instruction - 1)
                }
                _ => {
                    at = next;
                    let begin = builder.blanks(start, end);
                    let is_directive =
                        self.directives().get(directive).is_some_and(|found| found.span.start == begin);
                    if is_directive {
                        directive += 1;
                        builder.push(TokenKind::Directive, begin, end);
                        builder.push(TokenKind::Newline, end, next);
                        NodeKind::Directive(directive - 1)
                    } else if begin < end && self.source()[begin] == b'#' {
                        builder.push(TokenKind::Comment, begin, end);
                        builder.push(TokenKind::Newline, end, next);
                        NodeKind::Comment
                    } else {
                        builder.words(begin, end, None);
                        builder.push(TokenKind::Newline, end, next);
                        NodeKind::Blank
                    }
                }
            };
            nodes.push(Node { kind, span: Span::new(start, at), tokens: first..builder.tokens.len() });
        }
        Tree { file: self, tokens: builder.tokens, nodes }
    }
}

impl Tree<'_> {
    /// All tokens, in order, without a gap.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// All nodes, in order, without a gap.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The tokens of a node.
    pub fn tokens_of(&self, node: &Node) -> &[Token] {
        self.tokens.get(node.tokens.clone()).unwrap_or_default()
    }

    /// The text of all tokens, one after the other: the source.
    pub fn print(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.file.source().len());
        for token in &self.tokens {
            out.extend_from_slice(self.file.slice(token.span));
        }
        out
    }
}

struct Builder<'a> {
    source: &'a [u8],
    escape: u8,
    tokens: Vec<Token>,
}

impl Builder<'_> {
    fn push(&mut self, kind: TokenKind, start: usize, end: usize) {
        if start < end {
            self.tokens.push(Token { kind, span: Span::new(start, end) });
        }
    }

    /// White space from `start` on; where it ends.
    fn blanks(&mut self, start: usize, end: usize) -> usize {
        let mut at = start;
        while at < end {
            match space(self.source, at) {
                0 => break,
                length => at += length,
            }
        }
        self.push(TokenKind::Whitespace, start, at);
        at
    }

    /// Words and the white space between them.
    fn words(&mut self, start: usize, end: usize, instruction: Option<&Instruction>) {
        let mut at = start;
        while at < end {
            at = self.blanks(at, end);
            let from = at;
            while at < end && space(self.source, at) == 0 {
                at += 1;
            }
            let kind = match instruction {
                None => TokenKind::Argument,
                Some(found) => {
                    let inside = |span: Span| span.start <= from && from < span.end;
                    let inner = found.innermost();
                    if inside(found.keyword) || inside(inner.keyword) {
                        TokenKind::Keyword
                    } else {
                        // flags are in order, so the one before this place can be found by halves
                        let flag = |flags: &[crate::instruction::Flag]| {
                            let next = flags.partition_point(|flag| flag.span.start <= from);
                            next > 0 && inside(flags[next - 1].span)
                        };
                        let flag = flag(&found.flags) || flag(&inner.flags);
                        if flag { TokenKind::Flag } else { TokenKind::Argument }
                    }
                }
            };
            self.push(kind, from, at);
        }
    }

    /// The lines of an instruction from the line at `at` on; where they end.
    fn instruction(&mut self, found: &Instruction, mut at: usize) -> usize {
        let heredocs = &found.innermost().heredocs;
        let lines_end =
            heredocs.first().map_or(found.span.end.max(found.span.start + 1), |first| first.body.start);
        let mut first = true;
        while at < lines_end {
            let (end, next) = line_at(self.source, at);
            let begin = self.blanks(at, end);
            if !first && begin < end && self.source[begin] == b'#' {
                self.push(TokenKind::Comment, begin, end);
            } else if begin < end {
                let from = if first { begin } else { at };
                let cut = continuation(&self.source[from..end], self.escape).map(|cut| from + cut);
                self.words(begin, cut.unwrap_or(end), Some(found));
                self.push(TokenKind::Continuation, cut.unwrap_or(end), end);
            }
            self.push(TokenKind::Newline, end, next);
            at = next;
            first = false;
        }
        for heredoc in heredocs {
            self.push(TokenKind::HeredocBody, heredoc.body.start, heredoc.body.end);
            at = at.max(heredoc.body.end);
            if let Some(terminator) = heredoc.terminator {
                let (end, next) = line_at(self.source, terminator.start);
                self.push(TokenKind::HeredocEnd, terminator.start, end);
                self.push(TokenKind::Newline, end, next);
                at = next;
            }
        }
        at
    }
}
