// SPDX-License-Identifier: MIT
#include "text.hpp"

#include <cstdlib>
#include <cstring>
#include <langinfo.h>

namespace tool {

namespace {

struct Character {
	size_t bytes;
	char32_t code;
	bool valid; // otherwise one byte that is part of no character
};

// The first one of s, which is not empty. Neither overlong forms nor surrogates are valid.
Character first_of(std::string_view s)
{
	auto at = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
	size_t n = at(0) < 0x80                    ? 1
		   : at(0) >= 0xc2 && at(0) < 0xe0 ? 2
		   : at(0) >= 0xe0 && at(0) < 0xf0 ? 3
		   : at(0) >= 0xf0 && at(0) < 0xf5 ? 4
						   : 0;
	const Character none{1, at(0), false};
	if (n == 0 || n > s.size())
		return none;
	char32_t code = n == 1 ? at(0) : at(0) & (0x7f >> n);
	for (size_t i = 1; i < n; i++) {
		if ((at(i) & 0xc0) != 0x80)
			return none;
		code = code << 6 | (at(i) & 0x3f);
	}
	bool overlong = (n == 3 && code < 0x800) || (n == 4 && code < 0x10000);
	bool no_character = (code >= 0xd800 && code < 0xe000) || code > 0x10ffff;
	return overlong || no_character ? none : Character{n, code, true};
}

bool locale_is_utf8()
{
	static const bool is = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	return is;
}

// Control characters, and what is not seen or turns the direction in which its neighbours are.
bool is_harmful(char32_t c)
{
	static constexpr struct {
		char32_t first, last;
	} ranges[] = {{0, 0x1f},        {0x7f, 0x9f},     {0xad, 0xad},      {0x61c, 0x61c},
		      {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e},  {0x2060, 0x206f},
		      {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe0fff}};
	for (const auto &r : ranges)
		if (c >= r.first && c <= r.last)
			return true;
	return false;
}

std::string hexadecimal(const char *before, unsigned value, unsigned digits)
{
	char text[16];
	snprintf(text, sizeof text, "%s%0*x", before, static_cast<int>(digits), value);
	return text;
}

// For JSON text that is no UTF-8 is as if it were Latin-1.
std::string shown(std::string_view bytes, char32_t code, Reader reader)
{
	if (reader == Reader::json && code >= 0x10000)
		return hexadecimal("\\u", 0xd7c0 + (code >> 10), 4) +
		       hexadecimal("\\u", 0xdc00 + (code & 0x3ff), 4);
	if (reader == Reader::json)
		return hexadecimal("\\u", code, 4);
	std::string all;
	for (char c : bytes)
		all += hexadecimal("\\x", static_cast<unsigned char>(c), 2);
	return all;
}

// What has a meaning of its own for the reader; nullptr for all else.
const char *quoted(char32_t c, Reader reader)
{
	if (reader == Reader::json)
		return c == '"' ? "\\\"" : c == '\\' ? "\\\\" : nullptr;
	if (reader == Reader::terminal)
		return nullptr;
	return c == '<'   ? "&lt;"
	       : c == '>' ? "&gt;"
	       : c == '&' ? "&amp;"
	       : c == '"' ? "&quot;"
			  : nullptr;
}

} // namespace

std::string harmless(std::string_view text, Reader reader)
{
	std::string all;
	all.reserve(text.size());
	for (Character c; !text.empty(); text.remove_prefix(c.bytes)) {
		c = first_of(text);
		std::string_view bytes = text.substr(0, c.bytes);
		bool readable =
			c.valid && !is_harmful(c.code) && (c.code < 0x80 || locale_is_utf8());
		if (const char *q = quoted(c.code, reader); q != nullptr && readable)
			all += q;
		else
			all += readable ? std::string(bytes) : shown(bytes, c.code, reader);
	}
	return all;
}

// The style has been put together from a format of the tool's own.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
void Value::print(FILE *to, const std::string &style, char letter) const
{
	bool fits = strchr(kind_ == Kind::text   ? "s"
			   : kind_ == Kind::real ? "feg"
						 : "dux",
			   letter) != nullptr;
	if (!fits)
		abort(); // a mistake in the format
	switch (kind_) {
	case Kind::text:
		fprintf(to, (style + 's').c_str(), text_.c_str());
		break;
	case Kind::number:
		fprintf(to, (style + "lld").c_str(), signed_);
		break;
	case Kind::natural:
		fprintf(to, (style + "ll" + (letter == 'd' ? 'u' : letter)).c_str(), unsigned_);
		break;
	case Kind::real:
		fprintf(to, (style + letter).c_str(), real_);
		break;
	}
}
#pragma GCC diagnostic pop

void print_values(FILE *to, const char *format, const Value *values, size_t count)
{
	size_t next = 0;
	for (const char *at = format; *at != '\0';) {
		size_t plain = strcspn(at, "%");
		fwrite(at, 1, plain, to);
		at += plain;
		if (*at == '\0')
			break;
		size_t style = 1 + strspn(at + 1, "-+ #0123456789.");
		char letter = at[style];
		if (letter == '%')
			fputc('%', to);
		else if (next < count)
			values[next++].print(to, std::string(at, style), letter);
		else
			abort(); // a mistake in the format
		at += style + 1;
	}
	if (next != count)
		abort();
}

} // namespace tool
