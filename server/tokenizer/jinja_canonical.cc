#include "server/tokenizer/jinja_canonical.h"

#include <cctype>

namespace bitdial::server {
namespace {

bool IsSpace(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }
bool IsNameCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// Reads the literal that begins at source[*ofs] (a quote) and writes it in one form.
std::string CanonicalLiteral(std::string_view source, size_t* ofs) {
  const char quote = source[(*ofs)++];
  std::string literal = "'";
  while (*ofs < source.size() && source[*ofs] != quote) {
    char c = source[(*ofs)++];
    if (c == '\\' && *ofs < source.size()) {
      const char escaped = source[(*ofs)++];
      if (escaped == 'n') {
        c = '\n';
      } else if (escaped == 't') {
        c = '\t';
      } else if (escaped == '\'' || escaped == '"' || escaped == '\\') {
        c = escaped;
      } else {
        literal += '\\';  // another escape stays as it is written
        c = escaped;
        literal += c;
        continue;
      }
    }
    if (c == '\'' || c == '\\') literal += '\\';
    literal += c;
  }
  if (*ofs < source.size()) ++*ofs;  // the closing quote
  return literal + "'";
}

// The inside of a tag.
std::string CanonicalTag(std::string_view inside) {
  std::string out;
  for (size_t ofs = 0; ofs < inside.size();) {
    const char c = inside[ofs];
    if (c == '\'' || c == '"') {
      out += CanonicalLiteral(inside, &ofs);
    } else if (c == '.' && ofs > 0 && ofs + 1 < inside.size() &&
               std::isalpha(static_cast<unsigned char>(inside[ofs + 1])) != 0) {
      size_t end = ofs + 1;
      while (end < inside.size() && IsNameCharacter(inside[end])) ++end;
      out += "['" + std::string(inside.substr(ofs + 1, end - ofs - 1)) + "']";
      ofs = end;
    } else if (IsSpace(c)) {
      while (ofs < inside.size() && IsSpace(inside[ofs])) ++ofs;
      const bool parts_names = !out.empty() && ofs < inside.size() && IsNameCharacter(out.back()) &&
                               IsNameCharacter(inside[ofs]);
      if (parts_names) out += ' ';
    } else {
      out += c;
      ++ofs;
    }
  }
  return out;
}

// The end of the tag that opens at `begin`, past its closer, string literals skipped; npos when it
// does not close.
size_t FindTagEnd(std::string_view source, size_t begin, std::string_view closer) {
  const bool has_literals = closer != "#}";
  for (size_t ofs = begin + 2; ofs < source.size();) {
    if (source.substr(ofs).starts_with(closer)) return ofs + closer.size();
    if (has_literals && (source[ofs] == '\'' || source[ofs] == '"')) {
      CanonicalLiteral(source, &ofs);
    } else {
      ++ofs;
    }
  }
  return std::string_view::npos;
}

// Where the next tag opens; source.size() when none does.
size_t FindTag(std::string_view source) {
  for (size_t ofs = source.find('{'); ofs < source.size(); ofs = source.find('{', ofs + 1)) {
    const char kind = ofs + 1 < source.size() ? source[ofs + 1] : '\0';
    if (kind == '{' || kind == '%' || kind == '#') return ofs;
  }
  return source.size();
}

void TrimRight(std::string* text) {
  while (!text->empty() && IsSpace(text->back())) text->pop_back();
}

// lstrip_blocks: blanks between the line's begin and the tag go.
void TrimLineIndent(std::string* text, bool is_at_line_start) {
  size_t end = text->size();
  while (end > 0 && ((*text)[end - 1] == ' ' || (*text)[end - 1] == '\t')) --end;
  if (end > 0 ? (*text)[end - 1] == '\n' : is_at_line_start) text->resize(end);
}

}  // namespace

std::string CanonicalJinja(std::string_view source) {
  std::string out;
  bool is_at_line_start = true;  // no text since a line began
  while (!source.empty()) {
    const size_t open = FindTag(source);
    std::string text(source.substr(0, open));
    source.remove_prefix(open);
    if (source.empty()) {
      if (text.ends_with('\n')) text.pop_back();  // keep_trailing_newline is off
      return out + text;
    }
    const char kind = source[1];
    const std::string closer = std::string(1, kind == '{' ? '}' : kind) + "}";
    const size_t end = FindTagEnd(source, 0, closer);
    if (end == std::string_view::npos) return out + text + std::string(source);
    std::string_view inside = source.substr(2, end - 4);
    source.remove_prefix(end);

    if (inside.starts_with('-')) {
      inside.remove_prefix(1);
      TrimRight(&text);
    } else if (kind != '{') {
      TrimLineIndent(&text, is_at_line_start);
    }
    out += text;
    is_at_line_start = false;
    if (inside.ends_with('-')) {
      inside.remove_suffix(1);
      while (!source.empty() && IsSpace(source.front())) source.remove_prefix(1);
    } else if (kind != '{' && source.starts_with('\n')) {  // trim_blocks
      source.remove_prefix(1);
      is_at_line_start = true;
    }
    if (kind == '#') continue;
    out += std::string("{") + kind + CanonicalTag(inside) + closer;
  }
  return out;
}

}  // namespace bitdial::server
