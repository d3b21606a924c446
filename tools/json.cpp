// SPDX-License-Identifier: MIT
#include "json.hpp"

#include <cmath>

namespace tool
{

namespace
{

// How many bytes of a valid UTF-8 character begin here, or 0. Neither overlong forms nor surrogates.
size_t utf8_length(std::string_view s)
{
	auto at = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
	size_t n = at(0) < 0x80                    ? 1
		   : at(0) >= 0xc2 && at(0) < 0xe0 ? 2
		   : at(0) >= 0xe0 && at(0) < 0xf0 ? 3
		   : at(0) >= 0xf0 && at(0) < 0xf5 ? 4
						   : 0;
	if (n == 0 || n > s.size())
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((at(i) & 0xc0) != 0x80)
			return 0;
	bool low = n >= 3 && ((at(0) == 0xe0 && at(1) < 0xa0) || (at(0) == 0xf0 && at(1) < 0x90));
	bool high = n >= 3 && ((at(0) == 0xed && at(1) >= 0xa0) || (at(0) == 0xf4 && at(1) >= 0x90));
	return low || high ? 0 : n;
}

} // namespace

void Json::new_line()
{
	fputc('\n', to_);
	for (size_t i = 0; i < closing_.size(); i++)
		fputs("  ", to_);
}

void Json::begin_value(const char *name)
{
	if (!first_)
		fputc(',', to_);
	if (!closing_.empty())
		new_line();
	first_ = false;
	if (name != nullptr) {
		quoted(name);
		fputs(": ", to_);
	}
}

void Json::quoted(std::string_view s)
{
	fputc('"', to_);
	while (!s.empty()) {
		auto c = static_cast<unsigned char>(s[0]);
		size_t n = utf8_length(s);
		if (c == '"' || c == '\\')
			fprintf(to_, "\\%c", c);
		else if (c < 0x20 || c == 0x7f || n == 0)
			fprintf(to_, "\\u%04x", c);
		else
			fwrite(s.data(), 1, n, to_);
		s.remove_prefix(n == 0 ? 1 : n);
	}
	fputc('"', to_);
}

Json &Json::object(const char *name)
{
	begin_value(name);
	fputc('{', to_);
	closing_ += '}';
	first_ = true;
	return *this;
}

Json &Json::array(const char *name)
{
	begin_value(name);
	fputc('[', to_);
	closing_ += ']';
	first_ = true;
	return *this;
}

Json &Json::end()
{
	char c = closing_.back();
	closing_.pop_back();
	if (!first_)
		new_line();
	fputc(c, to_);
	first_ = false;
	if (closing_.empty())
		fputc('\n', to_);
	return *this;
}

Json &Json::text(const char *name, std::string_view value)
{
	begin_value(name);
	quoted(value);
	return *this;
}

Json &Json::number(const char *name, uint64_t value)
{
	begin_value(name);
	fprintf(to_, "%llu", static_cast<unsigned long long>(value));
	return *this;
}

Json &Json::real(const char *name, double value)
{
	if (!std::isfinite(value))
		return null(name);
	begin_value(name);
	fprintf(to_, "%.6g", value);
	return *this;
}

Json &Json::boolean(const char *name, bool value)
{
	begin_value(name);
	fputs(value ? "true" : "false", to_);
	return *this;
}

Json &Json::null(const char *name)
{
	begin_value(name);
	fputs("null", to_);
	return *this;
}

} // namespace tool
