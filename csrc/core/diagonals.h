// How match_patches divides its work: lanes, bands, strips, splits and steps.
//
// A tile multiplies a row of query pixels, one a lane, with a row of key pixels. From one step to the next
// every lane moves down by one pixel row, so a tile walks along diagonals of (query row, key row) pairs.
//
// Query lanes are the pixel columns of the selected queries' bounding box, once for each band of band_rows
// rows: all bands walk at the same time, so that a narrow box still fills a tile.
//
// Key lanes are consecutive pixels of the flattened key map, across row ends. Lane numbers begin band_rows -
// 1 rows above the map, so that every key row meets every row of a band.
//
// A strip is a tile's worth of lanes. A patch needs `size` lanes, so the last size - 1 lanes of a strip begin
// no patch, and neighbouring strips share them. At a row's end patches that would wrap around are never
// selected.
//
// The key strips of a query strip are dealt out to splits, so that a few query strips can fill a GPU. A query
// strip and a split make an item, which one block works through. Splits are chosen for all maps of a search
// together, so that every item has about as many strips.
#pragma once

#include <cstdint>

#include "core/macros.h"

namespace neuralpatch {

constexpr int kMaxBandRows = 16;

NEURALPATCH_HOST_DEVICE int divide_up(int a, int b) { return (a + b - 1) / b; }

// Bounds of the selected query positions, inclusive.
struct QueryBox {
  int first_row, last_row, first_column, last_column;
};

struct DiagonalPlan {
  int size;
  QueryBox box;
  int query_lanes;  // of a tile
  int key_lanes;    // of a tile
  int key_width;    // of the key map, in pixels
  int box_width;    // of the box, in pixels
  int bands, band_rows;
  int query_strips, key_strips, splits;
};

// A place in a query strip: which strip, which of its lanes, and which row of the band.
struct QueryPlace {
  int strip, lane, row;
};

// The plan of one search, as a single split.
NEURALPATCH_HOST_DEVICE DiagonalPlan plan_diagonals(const QueryBox& box, int size, int key_height,
                                                    int key_width, int query_lanes, int key_lanes) {
  DiagonalPlan plan{size, box, query_lanes, key_lanes, key_width, 0, 0, 0, 0, 0, 1};
  const int rows = box.last_row - box.first_row + 1;
  plan.bands = divide_up(rows, kMaxBandRows);
  plan.band_rows = divide_up(rows, plan.bands);
  plan.box_width = box.last_column - box.first_column + size;
  plan.query_strips = divide_up(plan.bands * plan.box_width - (size - 1), query_lanes - (size - 1));
  const int patch_lanes = (plan.band_rows - 1 + key_height - size) * key_width + key_width - (size - 1);
  plan.key_strips = divide_up(patch_lanes, key_lanes - (size - 1));
  return plan;
}

// Pairs of a query strip and a key strip: the work of a plan.
NEURALPATCH_HOST_DEVICE int64_t strip_pairs(const DiagonalPlan& plan) {
  return int64_t(plan.query_strips) * plan.key_strips;
}

// Key strips per item, so that plans of `strip_pairs` together give about `target_items` items: at most as
// many more as they have query strips.
NEURALPATCH_HOST_DEVICE int64_t strips_per_item(int64_t strip_pairs, int64_t target_items) {
  return strip_pairs <= target_items ? 1 : (strip_pairs + target_items - 1) / target_items;
}

NEURALPATCH_HOST_DEVICE void split_plan(DiagonalPlan& plan, int64_t strips_per_item) {
  plan.splits = int((plan.key_strips + strips_per_item - 1) / strips_per_item);
}

NEURALPATCH_HOST_DEVICE int items_of(const DiagonalPlan& plan) { return plan.query_strips * plan.splits; }

// No box within a query map of rows x columns positions gives a plan with more strips than this.
NEURALPATCH_HOST_DEVICE DiagonalPlan largest_plan(int rows, int columns, int size, int key_height,
                                                  int key_width, int query_lanes, int key_lanes) {
  return plan_diagonals({0, rows - 1, 0, columns - 1}, size, key_height + kMaxBandRows, key_width,
                        query_lanes, key_lanes);
}

// Pixel row and column of a lane of a query strip, at the first row of its band. False for a lane past the
// last band.
NEURALPATCH_HOST_DEVICE bool query_lane_pixel(const DiagonalPlan& plan, int strip, int lane, int* row,
                                              int* column) {
  const int number = strip * (plan.query_lanes - (plan.size - 1)) + lane;
  const int band = number / plan.box_width;
  *row = plan.box.first_row + band * plan.band_rows;
  *column = plan.box.first_column + number % plan.box_width;
  return band < plan.bands;
}

// Where the query patch at (row, column) of the position grid is scored.
NEURALPATCH_HOST_DEVICE QueryPlace place_of_query(const DiagonalPlan& plan, int row, int column) {
  const int from_top = row - plan.box.first_row;
  const int number = from_top / plan.band_rows * plan.box_width + column - plan.box.first_column;
  const int lanes = plan.query_lanes - (plan.size - 1);
  return {number / lanes, number % lanes, from_top % plan.band_rows};
}

// Pixel of the first lane of a key strip at step 0; negative above the map.
NEURALPATCH_HOST_DEVICE int key_strip_pixel(const DiagonalPlan& plan, int strip) {
  return strip * (plan.key_lanes - (plan.size - 1)) - (plan.band_rows - 1) * plan.key_width;
}

// The steps that the given output rows need: row r is complete after steps r .. r + size - 1. Bit masks.
NEURALPATCH_HOST_DEVICE uint32_t steps_for_rows(uint32_t rows, int size) {
  uint32_t steps = 0;
  for (int i = 0; i < size; ++i) steps |= rows << i;
  return steps;
}

// Is one of the bits [begin, end) set?
NEURALPATCH_HOST_DEVICE bool any_bit(const uint32_t* words, int begin, int end) {
  if (begin >= end) return false;
  const int first = begin / 32, last = (end - 1) / 32;
  uint32_t found = 0;
  for (int w = first; w <= last; ++w) {
    uint32_t bits = words[w];
    if (w == first) bits &= ~0u << begin % 32;
    if (w == last) bits &= ~0u >> (31 - (end - 1) % 32);
    found |= bits;
  }
  return found != 0;
}

}  // namespace neuralpatch
