// SPDX-License-Identifier: MIT
#include "json.hpp"

#include "text.hpp"

#include <cmath>

namespace tool {

void Json::new_line()
{
	if (in_line_)
		return;
	print(to_, "\n");
	for (size_t i = 0; i < closing_.size(); i++)
		print(to_, "  ");
}

void Json::begin_value(const char *name)
{
	if (!first_)
		print(to_, in_line_ ? ", " : ",");
	if (!closing_.empty())
		new_line();
	first_ = false;
	if (name != nullptr) {
		quoted(name);
		print(to_, ": ");
	}
}

void Json::quoted(std::string_view s)
{
	print(to_, "\"%s\"", For{Reader::json, s});
}

Json &Json::object(const char *name)
{
	begin_value(name);
	print(to_, "{");
	closing_ += '}';
	first_ = true;
	return *this;
}

Json &Json::array(const char *name)
{
	begin_value(name);
	print(to_, "[");
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
	print(to_, "%s", std::string(1, c));
	first_ = false;
	if (closing_.empty())
		print(to_, "\n");
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
	print(to_, "%u", value);
	return *this;
}

Json &Json::number_or_null(const char *name, std::optional<uint64_t> value)
{
	return value ? number(name, *value) : null(name);
}

Json &Json::real(const char *name, double value, bool exact)
{
	if (!std::isfinite(value))
		return null(name);
	begin_value(name);
	print(to_, exact ? "%.15g" : "%.6g", value);
	return *this;
}

Json &Json::boolean(const char *name, bool value)
{
	begin_value(name);
	print(to_, "%s", value ? "true" : "false");
	return *this;
}

Json &Json::null(const char *name)
{
	begin_value(name);
	print(to_, "null");
	return *this;
}

} // namespace tool
