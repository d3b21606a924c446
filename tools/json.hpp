// SPDX-License-Identifier: MIT
//
// Writes JSON: one value after the other, commas and quotes by itself. What texts become: text.hpp.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

namespace tool {

class Json {
public:
	// in_line: each in a line of its own.
	explicit Json(FILE *to, bool in_line = false) : to_(to), in_line_(in_line) {}

	// An object or array; within an object with its name.
	Json &object(const char *name = nullptr);
	Json &array(const char *name = nullptr);
	Json &end();

	Json &text(const char *name, std::string_view value);
	Json &number(const char *name, uint64_t value);
	Json &number_or_null(const char *name, std::optional<uint64_t> value);
	Json &real(const char *name, double value, bool exact = false);
	Json &boolean(const char *name, bool value);
	Json &null(const char *name);

private:
	void begin_value(const char *name);
	void quoted(std::string_view s);
	void new_line();

	FILE *to_;
	bool in_line_;
	std::string closing_; // of what is open
	bool first_ = true;
};

} // namespace tool
