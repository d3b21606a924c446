// SPDX-License-Identifier: MIT
//
// Everything that the tool prints goes through print(), and every text in it through harmless():
// names, paths and messages come from files, processes and other people, and a terminal obeys what
// it is sent. Nothing else in this folder writes to a stream; tests/cli/printed-text.sh looks for
// it.
#pragma once

#include <concepts>
#include <cstdio>
#include <string>
#include <string_view>

namespace tool {

// What reads the text in the end.
enum class Reader { terminal, json, xml };

// The text without anything that moves a cursor, ends a line, turns the direction of writing, or is
// no character: these are shown as \x1b (in JSON as \u001b). Where the locale is not UTF-8 all that
// is not ASCII is shown so, since its bytes may be control characters there.
std::string harmless(std::string_view text, Reader reader = Reader::terminal);

// A text that is printed for another reader than a terminal.
struct For {
	Reader reader;
	std::string_view text;
};

// One argument of print().
class Value {
public:
	Value(std::string_view text) : kind_(Kind::text), text_(harmless(text)) {}
	Value(const std::string &text) : Value(std::string_view(text)) {}
	Value(const char *text) : Value(std::string_view(text != nullptr ? text : "")) {}
	Value(const For &f) : kind_(Kind::text), text_(harmless(f.text, f.reader)) {}
	Value(std::signed_integral auto n) : kind_(Kind::number), signed_(n) {}
	Value(std::unsigned_integral auto n) : kind_(Kind::natural), unsigned_(n) {}
	Value(double n) : kind_(Kind::real), real_(n) {}

	// In the style of one conversion of printf: its flags, width and precision, and its letter.
	void print(FILE *to, const std::string &style, char letter) const;

private:
	enum class Kind { text, number, natural, real };
	Kind kind_;
	std::string text_;
	long long signed_ = 0;
	unsigned long long unsigned_ = 0;
	double real_ = 0;
};

void print_values(FILE *to, const char *format, const Value *values, size_t count);

// As fprintf, without lengths: %d, %u and %x take every whole number, %s every text, %g, %f and %e
// a double. The format is the tool's own.
template <class... A> void print(FILE *to, const char *format, const A &...arguments)
{
	if constexpr (sizeof...(arguments) == 0) {
		print_values(to, format, nullptr, 0);
	} else {
		const Value values[] = {Value(arguments)...};
		print_values(to, format, values, sizeof...(arguments));
	}
}

} // namespace tool
