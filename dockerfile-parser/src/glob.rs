//! The patterns of `${name#pattern}` and its kin: `*`, `?` and literal characters, no brackets.
//!
//! All states are followed at once, so the time is pattern times value at most, and a budget bounds that.

use crate::expand::ExpandError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// `*`
    Many,
    /// `?`
    One,
    Char(char),
}

#[derive(Debug)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
}

/// Steps that are left, shared by all patterns of a word.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(1 << 24)
    }
}

impl Budget {
    fn spend(&mut self, steps: usize) -> Result<(), ExpandError> {
        self.0 = self.0.checked_sub(steps).ok_or(ExpandError::TooComplex)?;
        Ok(())
    }
}

const NONE: usize = usize::MAX;

impl Glob {
    pub(crate) fn parse(pattern: &str) -> Result<Self, ExpandError> {
        let mut tokens = Vec::new();
        let mut chars = pattern.chars();
        while let Some(ch) = chars.next() {
            tokens.push(match ch {
                '*' => Token::Many,
                '?' => Token::One,
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Token::Char(escaped),
                    other => {
                        let escaped = other.map(String::from).unwrap_or_default();
                        return Err(ExpandError::Pattern { escaped });
                    }
                },
                other => Token::Char(other),
            });
        }
        // ** is no more than *
        tokens.dedup_by(|next, before| *next == Token::Many && *before == Token::Many);
        Ok(Self { tokens })
    }

    /// Length of the shortest or longest match at the beginning; 0 if there is none.
    pub(crate) fn prefix(
        &self,
        value: &str,
        longest: bool,
        budget: &mut Budget,
    ) -> Result<usize, ExpandError> {
        let found = anchored(&self.tokens, value.chars(), longest, budget)?;
        Ok(found.unwrap_or(0))
    }

    /// Length of the shortest or longest match at the end; 0 if there is none.
    pub(crate) fn suffix(
        &self,
        value: &str,
        longest: bool,
        budget: &mut Budget,
    ) -> Result<usize, ExpandError> {
        let reversed: Vec<Token> = self.tokens.iter().rev().copied().collect();
        let found = anchored(&reversed, value.chars().rev(), longest, budget)?;
        Ok(found.unwrap_or(0))
    }

    /// The leftmost match from `from` on, as long as can be.
    pub(crate) fn find(
        &self,
        value: &str,
        from: usize,
        budget: &mut Budget,
    ) -> Result<Option<(usize, usize)>, ExpandError> {
        let tokens = &self.tokens;
        // for each state, where the earliest match that is in it began
        let mut now = vec![NONE; tokens.len() + 1];
        let mut next = now.clone();
        let mut best: Option<(usize, usize)> = None;
        let rest = value.get(from..).unwrap_or_default();
        let ends = std::iter::once((rest.len(), None));
        for (at, ch) in rest.char_indices().map(|(at, ch)| (at, Some(ch))).chain(ends) {
            budget.spend(tokens.len() + 1)?;
            let at = from + at;
            match best {
                None => now[0] = now[0].min(at),
                Some((start, _)) => {
                    now.iter_mut().filter(|began| **began > start).for_each(|began| *began = NONE);
                }
            }
            for (state, token) in tokens.iter().enumerate() {
                if *token == Token::Many {
                    now[state + 1] = now[state + 1].min(now[state]);
                }
            }
            let done = now[tokens.len()];
            if done != NONE && best.is_none_or(|(start, _)| done <= start) {
                best = Some((done, at));
            }
            let Some(ch) = ch else { break };
            next.fill(NONE);
            for (state, token) in tokens.iter().enumerate() {
                let began = now[state];
                match token {
                    Token::Char(wanted) if *wanted == ch => next[state + 1] = next[state + 1].min(began),
                    Token::One if ch != '\n' => next[state + 1] = next[state + 1].min(began),
                    Token::Many if ch != '\n' => next[state] = next[state].min(began),
                    _ => {}
                }
            }
            std::mem::swap(&mut now, &mut next);
            if best.is_some() && now.iter().all(|&began| began == NONE) {
                break;
            }
        }
        Ok(best)
    }
}

/// Bytes that a match from the first character on takes.
fn anchored(
    tokens: &[Token],
    chars: impl Iterator<Item = char>,
    longest: bool,
    budget: &mut Budget,
) -> Result<Option<usize>, ExpandError> {
    let mut now = vec![false; tokens.len() + 1];
    let mut next = now.clone();
    now[0] = true;
    let mut best = None;
    let mut length = 0;
    let mut chars = chars;
    loop {
        budget.spend(tokens.len() + 1)?;
        for (state, token) in tokens.iter().enumerate() {
            if *token == Token::Many && now[state] {
                now[state + 1] = true;
            }
        }
        if now[tokens.len()] {
            best = Some(length);
            if !longest {
                break;
            }
        }
        let Some(ch) = chars.next() else { break };
        next.fill(false);
        let mut alive = false;
        for (state, token) in tokens.iter().enumerate() {
            if !now[state] {
                continue;
            }
            let to = match token {
                Token::Char(wanted) if *wanted == ch => state + 1,
                Token::One if ch != '\n' => state + 1,
                Token::Many if ch != '\n' => state,
                _ => continue,
            };
            next[to] = true;
            alive = true;
        }
        if !alive {
            break;
        }
        length += ch.len_utf8();
        std::mem::swap(&mut now, &mut next);
    }
    Ok(best)
}
