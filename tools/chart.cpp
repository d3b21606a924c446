// SPDX-License-Identifier: MIT
#include "chart.hpp"

#include "text.hpp"

#include <algorithm>

namespace tool {

namespace {

constexpr int width = 760, left = 130, right = 170, bar = 18, gap = 4, group_gap = 34, head = 56;

void text(FILE *to, int x, int y, const char *attributes, const std::string &s)
{
	print(to, "<text x=\"%d\" y=\"%d\" %s>%s</text>\n", x, y, attributes, For{Reader::xml, s});
}

int height_of(const Group &g)
{
	return group_gap + static_cast<int>(g.bars.size()) * (bar + gap);
}

int draw(FILE *to, const Group &g, int y)
{
	double most = 0;
	for (const Bar &b : g.bars)
		most = std::max(most, b.value);
	text(to, left, y + group_gap - 10, "font-weight=\"bold\"", g.title);
	y += group_gap;
	for (const Bar &b : g.bars) {
		double length = most > 0 ? b.value / most * (width - left - right) : 0;
		text(to, left - 8, y + bar - 5, "text-anchor=\"end\"", b.name);
		print(to, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n",
		      left, y, length, bar, b.reference ? "#8a8f98" : "#1f6fb2");
		text(to, left + static_cast<int>(length) + 8, y + bar - 5, "", b.label);
		y += bar + gap;
	}
	return y;
}

} // namespace

void write_chart(FILE *to, const std::string &title, const std::string &note,
		 const std::vector<Group> &groups)
{
	int height = head + 36;
	for (const Group &g : groups)
		height += height_of(g);
	print(to,
	      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 "
	      "%d %d\" "
	      "font-family=\"sans-serif\" font-size=\"13\" fill=\"#1b1f24\">\n"
	      "<title>%s</title>\n<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n",
	      width, height, width, height, For{Reader::xml, title}, width, height);
	text(to, 16, 26, "font-size=\"17\" font-weight=\"bold\"", title);
	int y = head - 20;
	for (const Group &g : groups)
		y = draw(to, g, y);
	text(to, 16, height - 14, "font-size=\"11\" fill=\"#57606a\"", note);
	print(to, "</svg>\n");
}

} // namespace tool
