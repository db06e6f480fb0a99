// Exact nearest patches by normalised cross-correlation.
//
// With D(a, b)[i, k] = <query pixel (a, i), key pixel (b, k)>, a small matrix product per pair of rows, the
// correlation of the patches at (y, i) and (z, k) is the sum over dy of H(y + dy, z + dy)[i, k], where H(a,
// b)[i, k] = sum over dx of D(a, b)[i + dx, k + dx]. Walking down a diagonal z - y = const, each D(a, b) is
// computed once, and the last `size` tiles H are kept in a ring. Nothing grows with queries x keys.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>
#include <vector>

#include "core/best.h"
#include "core/geometry.h"
#include "core/variant.h"
#include "cpu/kernels.h"
#include "neuralpatch/operators.h"

namespace neuralpatch::cpu {
namespace {

// Pixels per block of a row and rows per strip, so that a worker's tiles and the rows it multiplies stay in
// the second cache: with 256 channels, 96 KB + 128 KB of pixels and 4 tiles of 50 KB.
constexpr int64_t kQueryPixels = 96;
constexpr int64_t kKeyPixels = 128;
constexpr int64_t kStripRows = 64;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// An uninitialised array, aligned to the cache line.
class Buffer {
 public:
  explicit Buffer(int64_t size = 0)
      : data_(static_cast<float*>(::operator new(sizeof(float) * size, std::align_val_t(64)))) {}
  ~Buffer() { ::operator delete(data_, std::align_val_t(64)); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  float* get() const { return data_; }

 private:
  float* data_;
};

// The selected positions of a feature map, cropped to the box around them, and the pixels that they need.
struct Selection {
  int64_t size;                    // of a patch
  int64_t top, left;               // of the box
  int64_t rows, columns;           // of positions in the box
  std::vector<uint8_t> positions;  // [rows, columns]: selected
  std::vector<uint8_t>
      row_sums;  // [pixel_rows, columns]: a selected patch in this column covers this pixel row
  std::vector<uint8_t> pixels;  // [pixel_rows, pixel_columns]: covered by a selected patch
  int64_t pixel_rows() const { return rows + size - 1; }
  int64_t pixel_columns() const { return columns + size - 1; }
};

// `selected` holds the position numbers, ascending, of which there is at least one; a row of the grid has
// `grid_columns`.
Selection select(const std::vector<int64_t>& selected, int64_t grid_columns, int size) {
  Selection s;
  s.size = size;
  s.top = selected.front() / grid_columns;
  s.rows = selected.back() / grid_columns - s.top + 1;
  int64_t left = grid_columns, right = 0;
  for (int64_t position : selected) {
    left = std::min(left, position % grid_columns);
    right = std::max(right, position % grid_columns);
  }
  s.left = left;
  s.columns = right - left + 1;
  s.positions.assign(s.rows * s.columns, 0);
  s.row_sums.assign(s.pixel_rows() * s.columns, 0);
  s.pixels.assign(s.pixel_rows() * s.pixel_columns(), 0);
  for (int64_t position : selected) {
    const int64_t y = position / grid_columns - s.top, x = position % grid_columns - left;
    s.positions[y * s.columns + x] = 1;
    for (int dy = 0; dy < size; ++dy) s.row_sums[(y + dy) * s.columns + x] = 1;
  }
  for (int64_t a = 0; a < s.pixel_rows(); ++a) {
    for (int64_t x = 0; x < s.columns; ++x) {
      if (s.row_sums[a * s.columns + x]) std::fill_n(&s.pixels[a * s.pixel_columns() + x], size, 1);
    }
  }
  return s;
}

// A range of a row's positions, and the pixels that they need.
struct Block {
  int64_t first, positions;
  int64_t pixels;  // padded to a multiple of the packing's alignment
  int64_t offset;  // of the block's data
};

// A feature map laid out for the matrix product: for each block, each pixel row, and each panel of up to
// `panel` pixels, [words, pixels of the panel]. A word is a channel widened to float32, or a pair of channels
// in bfloat16.
class PackedMap {
 public:
  // Room is made for all blocks at the same time, or only for one.
  PackedMap(const void* features, DType dtype, bool in_pairs, int64_t channels, int64_t width,
            const Selection& selection, int64_t block_pixels, int64_t panel, int64_t alignment,
            bool all_at_once, const ParallelFor& parallel_for)
      : features_(static_cast<const char*>(features)),
        dtype_(dtype),
        in_pairs_(in_pairs),
        channels_(channels),
        words_(in_pairs ? divide_up(channels, 2) : channels),
        width_(width),
        panel_(panel),
        selection_(selection),
        blocks_(split(selection, block_pixels, alignment, all_at_once ? words_ : 0)),
        data_(all_at_once ? blocks_.back().offset + selection.pixel_rows() * blocks_.back().pixels * words_
                          : selection.pixel_rows() * longest(blocks_) * words_),
        squares_(selection.pixel_rows() * selection.pixel_columns()) {
    const int64_t columns = selection.pixel_columns();
    parallel_for(0, selection.pixel_rows(), 1, [&](int64_t begin, int64_t end) {
      std::vector<float> wide(channels);
      for (int64_t a = begin; a < end; ++a) {
        for (int64_t x = 0; x < columns; ++x) {
          kernels().widen(pixel(a, x), dtype, channels, wide.data());
          squares_[a * columns + x] = kernels().sum_of_squares(wide.data(), channels);
        }
      }
    });
  }

  void pack(const Block& block, const ParallelFor& parallel_for) {
    const int64_t available = std::min(block.pixels, selection_.pixel_columns() - block.first);
    parallel_for(0, selection_.pixel_rows(), 1, [&](int64_t begin, int64_t end) {
      std::vector<float> row(available * words_);
      for (int64_t a = begin; a < end; ++a) {
        if (!in_pairs_) {
          kernels().widen(pixel(a, block.first), dtype_, available * channels_, row.data());
        } else {
          for (int64_t x = 0; x < available; ++x) {  // an odd channel at the end is paired with 0
            row[(x + 1) * words_ - 1] = 0;
            std::memcpy(&row[x * words_], pixel(a, block.first + x), channels_ * sizeof(uint16_t));
          }
        }
        transpose(row.data(), available, block.pixels, data_.get() + row_offset(block, a));
      }
    });
  }

  const std::vector<Block>& blocks() const { return blocks_; }
  int64_t words() const { return words_; }
  const float* row(const Block& block, int64_t a) const { return data_.get() + row_offset(block, a); }

  // The squared norm of the patch whose top-left pixel is (y, x) of the box.
  double squared_norm(const Selection& selection, int64_t y, int64_t x) const {
    double sum = 0;
    for (int64_t dy = 0; dy < selection.size; ++dy) {
      for (int64_t dx = 0; dx < selection.size; ++dx) {
        sum += squares_[(y + dy) * selection.pixel_columns() + x + dx];
      }
    }
    return sum;
  }

 private:
  // `words` is 0 if all blocks share their place.
  static std::vector<Block> split(const Selection& selection, int64_t block_pixels, int64_t alignment,
                                  int64_t words) {
    const int64_t halo = selection.size - 1;
    // With large patches, longer blocks keep the overlap of the blocks below a third.
    const int64_t most = std::max(block_pixels, round_up(4 * halo, alignment)) - halo;
    const int64_t count = divide_up(selection.columns, most);
    const int64_t each = round_up(divide_up(selection.columns, count) + halo, alignment) - halo;
    std::vector<Block> blocks;
    int64_t offset = 0;
    for (int64_t first = 0; first < selection.columns; first += each) {
      const int64_t positions = std::min(each, selection.columns - first);
      blocks.push_back({first, positions, round_up(positions + halo, alignment), offset});
      offset += selection.pixel_rows() * blocks.back().pixels * words;
    }
    return blocks;
  }

  static int64_t longest(const std::vector<Block>& blocks) {
    int64_t pixels = 0;
    for (const Block& block : blocks) pixels = std::max(pixels, block.pixels);
    return pixels;
  }

  const char* pixel(int64_t a, int64_t x) const {
    const int64_t number = (selection_.top + a) * width_ + selection_.left + x;
    return features_ + number * channels_ * (dtype_ == DType::kFloat32 ? 4 : 2);
  }

  int64_t row_offset(const Block& block, int64_t a) const { return block.offset + a * block.pixels * words_; }

  // Transposes the pixels panel by panel; those past `available` are zero.
  void transpose(const float* source, int64_t available, int64_t pixels, float* result) const {
    constexpr int64_t kWords = 16;  // one cache line of each source pixel at a time
    for (int64_t first = 0; first < pixels; first += panel_) {
      const int64_t width = std::min(panel_, pixels - first);
      float* panel = result + first * words_;
      for (int64_t c0 = 0; c0 < words_; c0 += kWords) {
        const int64_t c1 = std::min(c0 + kWords, words_);
        for (int64_t x = 0; x < width; ++x) {
          const float* pixel = source + (first + x) * words_;
          for (int64_t c = c0; c < c1; ++c) panel[c * width + x] = first + x < available ? pixel[c] : 0.0f;
        }
      }
    }
  }

  const char* features_;
  DType dtype_;
  bool in_pairs_;
  int64_t channels_, words_, width_, panel_;
  const Selection& selection_;
  std::vector<Block> blocks_;
  Buffer data_;
  std::vector<double> squares_;
};

// For each row, the vectors of a block that hold a wanted value: their first elements.
class ChunkLists {
 public:
  // `wanted` is [rows, columns]; the block is columns [first, first + count), and a vector has `lanes` of
  // them.
  ChunkLists(const std::vector<uint8_t>& wanted, int64_t rows, int64_t columns, int64_t first, int64_t count,
             int lanes) {
    begin_.push_back(0);
    for (int64_t row = 0; row < rows; ++row) {
      const uint8_t* values = wanted.data() + row * columns + first;
      for (int64_t x = 0; x < count; x += lanes) {
        const uint8_t* end = values + std::min<int64_t>(count, x + lanes);
        if (std::find(values + x, end, 1) != end) chunks_.push_back(static_cast<int32_t>(x));
      }
      begin_.push_back(static_cast<int64_t>(chunks_.size()));
    }
  }
  const int32_t* data(int64_t row) const { return chunks_.data() + begin_[row]; }
  int64_t size(int64_t row) const { return begin_[row + 1] - begin_[row]; }

 private:
  std::vector<int32_t> chunks_;
  std::vector<int64_t> begin_;
};

// What a block of the keys' columns needs besides its pixels.
struct KeyBlock {
  ChunkLists positions, row_sums, pixels;
  int64_t stride;  // of inverse_norm and of the tiles
  std::vector<float>
      inverse_norm;  // [rows, stride]: 1 / |key patch|, 0 if that is 0; NaN, which never wins, if unselected
};

// One image and one exemplar.
struct PairArgs {
  const void* query;  // pixel-major [query_height, query_width, channels]
  const void* key;    // pixel-major [key_height, key_width, channels]
  DType dtype;
  bool in_pairs;  // multiply pairs of bfloat16
  int64_t channels;
  int64_t query_height, query_width;
  int64_t key_height, key_width;
  int size;
  const int64_t* query_position;  // [queries], ascending
  int64_t queries;
  int64_t* index;  // [queries], in the exemplar's positions
  float* score;    // [queries]
};

class Matcher {
 public:
  Matcher(const PairArgs& args, const std::vector<int64_t>& keys, const ParallelFor& parallel_for)
      : args_(args),
        kernels_(kernels()),
        query_columns_(positions_along(args.query_width, args.size)),
        key_columns_(positions_along(args.key_width, args.size)),
        query_(select(std::vector<int64_t>(args.query_position, args.query_position + args.queries),
                      query_columns_, args.size)),
        key_(select(keys, key_columns_, args.size)),
        packed_query_(args.query, args.dtype, args.in_pairs, args.channels, args.query_width, query_,
                      kQueryPixels, kernels_.group, 1, true, parallel_for),
        packed_key_(args.key, args.dtype, args.in_pairs, args.channels, args.key_width, key_, kKeyPixels,
                    Kernels::kTileVectors * kernels_.lanes, kernels_.lanes, false, parallel_for),
        best_(query_.rows * query_.columns, Best::none()) {
    for (const Block& block : packed_query_.blocks()) packed_query_.pack(block, parallel_for);
    for (const Block& block : packed_key_.blocks()) key_blocks_.push_back(describe(block));
  }

  // One block of the keys' columns after the other, as only one is packed at a time.
  void run(const ParallelFor& parallel_for) {
    for (size_t k = 0; k < key_blocks_.size(); ++k) {
      packed_key_.pack(packed_key_.blocks()[k], parallel_for);
      match_block(packed_key_.blocks()[k], key_blocks_[k], parallel_for);
    }
    finish(parallel_for);
  }

 private:
  // One thread's tiles, and its running best for the queries of a strip and block.
  class Worker {
   public:
    Worker(Matcher& matcher, int64_t strip_rows)
        : m_(matcher),
          size_(matcher.args_.size),
          strip_rows_(strip_rows),
          tile_(longest_block() * longest_stride()),
          ring_(size_ * longest_block() * longest_stride()),
          sums_(size_),
          score_(strip_rows * longest_block() * matcher.kernels_.lanes),
          index_(score_.size()) {
      // Padding is read, although it never counts.
      std::fill_n(tile_.get(), longest_block() * longest_stride(), 0.0f);
      std::fill_n(ring_.get(), size_ * longest_block() * longest_stride(), 0.0f);
    }

    // The queries of the items to come. Items are ordered by them, so that this rarely changes anything.
    void select_queries(int64_t first_row, const Block& block) {
      if (block_ == &block && first_row_ == first_row) return;
      merge();
      block_ = &block;
      first_row_ = first_row;
      last_row_ = std::min(first_row + strip_rows_, m_.query_.rows);
      std::fill(score_.begin(), score_.end(), Best::none().score);
      std::fill(index_.begin(), index_.end(), kNoIndex);
    }

    // Walks down the diagonal of the pairs of rows (y, y + diagonal).
    void match(int64_t diagonal, const Block& key_block, const KeyBlock& key) {
      const int64_t begin = std::max(first_row_, -diagonal);
      const int64_t end = std::min(last_row_, m_.key_.rows - diagonal);
      for (int64_t a = begin; a < end + size_ - 1; ++a) {
        if (wanted(std::max(begin, a - size_ + 1), std::min(end, a + 1), diagonal, key)) {
          add_row(a, a + diagonal, key_block, key);
        }
        const int64_t y = a - size_ + 1;
        if (y >= begin && wanted(y, y + 1, diagonal, key)) update(y, y + diagonal, key_block, key);
      }
    }

    // Hands the results for the selected queries over.
    void merge() {
      if (block_ == nullptr) return;
      const int lanes = m_.kernels_.lanes;
      const std::lock_guard<std::mutex> lock(m_.mutex_);
      for (int64_t y = first_row_; y < last_row_; ++y) {
        for (int64_t x = 0; x < block_->positions; ++x) {
          Best& best = m_.best_[y * m_.query_.columns + block_->first + x];
          const int64_t first = ((y - first_row_) * block_->positions + x) * lanes;
          for (int64_t i = first; i < first + lanes; ++i) {
            const Best candidate{score_[i], index_[i]};
            if (index_[i] != kNoIndex && better(candidate, best)) best = candidate;
          }
        }
      }
    }

   private:
    static constexpr int32_t kNoIndex = std::numeric_limits<int32_t>::max();

    int64_t longest_block() const {
      int64_t pixels = 0;
      for (const Block& block : m_.packed_query_.blocks()) pixels = std::max(pixels, block.pixels);
      return pixels;
    }

    int64_t longest_stride() const {
      int64_t stride = 0;
      for (const KeyBlock& key : m_.key_blocks_) stride = std::max(stride, key.stride);
      return stride;
    }

    const uint8_t* selected(int64_t y) const {
      return &m_.query_.positions[y * m_.query_.columns + block_->first];
    }

    float* ring(int64_t a, const KeyBlock& key) {
      return ring_.get() + a % size_ * block_->pixels * key.stride;
    }

    static bool any(const uint8_t* flags, int64_t count) {
      return std::find(flags, flags + count, 1) != flags + count;
    }

    // Whether some row of [begin, end) has a selected query, and its partner on the diagonal a selected key.
    bool wanted(int64_t begin, int64_t end, int64_t diagonal, const KeyBlock& key) const {
      for (int64_t y = begin; y < end; ++y) {
        if (key.positions.size(y + diagonal) != 0 && any(selected(y), block_->positions)) return true;
      }
      return false;
    }

    // Computes D(a, b), and from it H(a, b) into the ring.
    void add_row(int64_t a, int64_t b, const Block& key_block, const KeyBlock& key) {
      const int lanes = m_.kernels_.lanes, group = m_.kernels_.group;
      const int64_t words = m_.packed_key_.words(), panel = Kernels::kTileVectors * lanes;
      const auto multiply = m_.args_.in_pairs ? m_.kernels_.multiply_pairs : m_.kernels_.multiply;
      const float* query_row = m_.packed_query_.row(*block_, a);
      const float* key_row = m_.packed_key_.row(key_block, b);
      const uint8_t* query_pixels = &m_.query_.pixels[a * m_.query_.pixel_columns() + block_->first];
      int64_t done = -1;
      for (int64_t i = 0; i < key.pixels.size(b); ++i) {
        const int64_t first = key.pixels.data(b)[i] / panel * panel;
        if (first == done) continue;
        done = first;
        const int vectors = static_cast<int>(std::min(panel, key_block.pixels - first) / lanes);
        for (int64_t x = 0; x < block_->pixels; x += group) {
          const int rows = static_cast<int>(std::min<int64_t>(group, block_->pixels - x));
          if (!any(query_pixels + x, rows)) continue;
          multiply(query_row + x * words, key_row + first * words, words, rows, vectors,
                   tile_.get() + x * key.stride + first, key.stride);
        }
      }
      m_.kernels_.sum_diagonals(tile_.get(), key.stride, size_,
                                &m_.query_.row_sums[a * m_.query_.columns + block_->first], block_->positions,
                                key.row_sums.data(b), key.row_sums.size(b), ring(a, key), key.stride);
    }

    // Offers the keys of row z to the queries of row y.
    void update(int64_t y, int64_t z, const Block& key_block, const KeyBlock& key) {
      for (int dy = 0; dy < size_; ++dy) sums_[dy] = ring(y + dy, key);
      const int64_t position = (m_.key_.top + z) * m_.key_columns_ + m_.key_.left + key_block.first;
      const int64_t best = (y - first_row_) * block_->positions * m_.kernels_.lanes;
      m_.kernels_.update_best(sums_.data(), size_, key.stride, selected(y), block_->positions,
                              &key.inverse_norm[z * key.stride], static_cast<int32_t>(position),
                              key.positions.data(z), key.positions.size(z), &score_[best], &index_[best]);
    }

    Matcher& m_;
    const int size_;
    const int64_t strip_rows_;
    const Block* block_ = nullptr;
    int64_t first_row_ = 0, last_row_ = 0;
    Buffer tile_, ring_;              // D, and the last `size` tiles H, each [query pixels, stride]
    std::vector<const float*> sums_;  // the tiles H of the patch row at hand, from top to bottom
    std::vector<float> score_;        // [strip rows, positions of the block, lanes]
    std::vector<int32_t> index_;
  };

  void match_block(const Block& block, const KeyBlock& key, const ParallelFor& parallel_for) {
    // An item is a block of queries in a strip of rows, and one diagonal.
    const int64_t strips = divide_up(query_.rows, kStripRows);
    const int64_t strip_rows = divide_up(query_.rows, strips);
    const int64_t diagonals = strip_rows + key_.rows - 1;
    const auto query_blocks = static_cast<int64_t>(packed_query_.blocks().size());
    const int64_t items = strips * query_blocks * diagonals;
    std::atomic<int64_t> next{0};
    // Items differ in cost, so each worker fetches the next one when it is done, whatever its share of the
    // range.
    parallel_for(0, items, 1, [&](int64_t, int64_t) {
      int64_t item = next++;
      if (item >= items) return;
      Worker worker(*this, strip_rows);
      for (; item < items; item = next++) {
        const int64_t diagonal = item % diagonals;
        const int64_t q = item / diagonals % query_blocks;
        const int64_t strip = item / diagonals / query_blocks;
        worker.select_queries(strip * strip_rows, packed_query_.blocks()[q]);
        // On the first diagonal, the strip's last row meets the first key row.
        worker.match(diagonal + 1 - (strip + 1) * strip_rows, block, key);
      }
      worker.merge();
    });
  }

  KeyBlock describe(const Block& block) const {
    const int lanes = kernels_.lanes;
    const Selection& s = key_;
    // Diagonal sums read size - 1 values past the last vector.
    const int64_t stride = block.pixels + round_up(std::max(args_.size - 1, 1), lanes);
    KeyBlock key{ChunkLists(s.positions, s.rows, s.columns, block.first, block.positions, lanes),
                 ChunkLists(s.row_sums, s.pixel_rows(), s.columns, block.first, block.positions, lanes),
                 ChunkLists(s.pixels, s.pixel_rows(), s.pixel_columns(), block.first,
                            block.positions + s.size - 1, lanes),
                 stride, std::vector<float>(s.rows * stride, std::numeric_limits<float>::quiet_NaN())};
    for (int64_t y = 0; y < s.rows; ++y) {
      for (int64_t x = 0; x < block.positions; ++x) {
        if (!s.positions[y * s.columns + block.first + x]) continue;
        const double square = packed_key_.squared_norm(s, y, block.first + x);
        key.inverse_norm[y * stride + x] = square == 0 ? 0.0f : static_cast<float>(1 / std::sqrt(square));
      }
    }
    return key;
  }

  // The query's norm does not change which key is best, so it is applied to the result only.
  void finish(const ParallelFor& parallel_for) {
    const int64_t first_key = (key_.top * key_columns_ + key_.left) + first_selected();
    parallel_for(0, args_.queries, 1024, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t y = args_.query_position[i] / query_columns_ - query_.top;
        const int64_t x = args_.query_position[i] % query_columns_ - query_.left;
        const Best& best = best_[y * query_.columns + x];
        const double square = packed_query_.squared_norm(query_, y, x);
        // Only where every score is NaN has no key won.
        const bool found = best.index != Best::none().index;
        args_.index[i] = found ? best.index : first_key;
        args_.score[i] = !found        ? std::numeric_limits<float>::quiet_NaN()
                         : square == 0 ? 0.0f
                                       : static_cast<float>(best.score / std::sqrt(square));
      }
    });
  }

  // Columns of the key box's first row before its first selected position.
  int64_t first_selected() const {
    return std::find(key_.positions.begin(), key_.positions.end(), 1) - key_.positions.begin();
  }

  const PairArgs& args_;
  const Kernels& kernels_;
  const int64_t query_columns_, key_columns_;
  const Selection query_, key_;
  PackedMap packed_query_, packed_key_;
  std::vector<KeyBlock> key_blocks_;
  std::mutex mutex_;
  std::vector<Best> best_;  // [query rows, query columns] of the box; guarded by mutex_ while workers run
};

// Indices into kVariants.
constexpr int kBFloat16Pairs = 0;

std::string bfloat16_obstacle(const MatchPatchesArgs& args) {
  if (args.dtype != DType::kBFloat16) return "it takes bfloat16 features";
  if (kernels().multiply_pairs == nullptr) return "it needs a processor with AVX512-BF16";
  return "";
}
std::string float32_obstacle(const MatchPatchesArgs&) { return ""; }

// In order of preference.
constexpr Variant<MatchPatchesArgs> kVariants[] = {{"bfloat16", bfloat16_obstacle},
                                                   {"float32", float32_obstacle}};

// A pair of an image and an exemplar, and its results.
struct Pair {
  PairArgs args;
  std::vector<int64_t> keys;  // selected positions, at least one
  int64_t first_query;        // of the image's queries, in all queries
  int64_t first_index;        // of the exemplar's positions, in all exemplars'
  std::vector<int64_t> index;
  std::vector<float> score;

  void match(const ParallelFor& parallel_for) {
    args.index = index.data();
    args.score = score.data();
    Matcher(args, keys, parallel_for).run(parallel_for);
  }

  // Multiplications, roughly.
  double work() const { return double(args.queries) * double(keys.size()) * double(args.channels); }
};

// Pairs with less work than this are not worth dividing: a few milliseconds of one core.
constexpr double kLeastDividedWork = double(1 << 27);

std::vector<int64_t> selected_positions(const bool* mask, int64_t positions) {
  std::vector<int64_t> selected;
  for (int64_t k = 0; k < positions; ++k) {
    if (mask[k]) selected.push_back(k);
  }
  return selected;
}

// The pairs with queries and keys, ordered by image, then by exemplar. `local` keeps the queries' positions
// within their images.
std::vector<Pair> list_pairs(const MatchPatchesArgs& args, std::vector<int64_t>& local) {
  const int64_t grid =
      positions_along(args.query_height, args.size) * positions_along(args.query_width, args.size);
  const int64_t element = args.dtype == DType::kFloat32 ? 4 : 2;
  const auto image_of = [&](const void* maps, int64_t image, int64_t images, int64_t pixels) {
    return static_cast<const char*>(maps) + (images == 1 ? 0 : image) * pixels * args.channels * element;
  };
  std::vector<Pair> pairs;
  local.resize(args.queries);
  const int64_t* const end = args.query_position + args.queries;
  for (int64_t image = 0; image < args.images; ++image) {
    const int64_t* const first = std::lower_bound(args.query_position, end, image * grid);
    const int64_t* const last = std::lower_bound(first, end, (image + 1) * grid);
    const int64_t first_query = first - args.query_position, queries = last - first;
    if (queries == 0) continue;
    for (int64_t i = 0; i < queries; ++i) local[first_query + i] = first[i] - image * grid;
    int64_t first_index = 0;
    for (int e = 0; e < args.exemplars; ++e) {
      const Exemplar& exemplar = args.exemplar[e];
      const int64_t positions =
          positions_along(exemplar.height, args.size) * positions_along(exemplar.width, args.size);
      Pair pair;
      pair.keys =
          selected_positions(exemplar.mask + (exemplar.mask_images == 1 ? 0 : image) * positions, positions);
      if (!pair.keys.empty()) {
        pair.args.query = image_of(args.query, image, args.images, args.query_height * args.query_width);
        pair.args.key = image_of(exemplar.key, image, exemplar.key_images, exemplar.height * exemplar.width);
        pair.args.dtype = args.dtype;
        pair.args.in_pairs = args.variant == kBFloat16Pairs;
        pair.args.channels = args.channels;
        pair.args.query_height = args.query_height;
        pair.args.query_width = args.query_width;
        pair.args.key_height = exemplar.height;
        pair.args.key_width = exemplar.width;
        pair.args.size = args.size;
        pair.args.query_position = local.data() + first_query;
        pair.args.queries = queries;
        pair.first_query = first_query;
        pair.first_index = first_index;
        pair.index.resize(queries);
        pair.score.resize(queries);
        pairs.push_back(std::move(pair));
      }
      first_index += positions;
    }
  }
  return pairs;
}

// Large pairs one after another, each by all threads; then the small ones side by side, each by one thread.
void match_all(std::vector<Pair>& pairs, const ParallelFor& parallel_for) {
  std::vector<Pair*> small;
  for (Pair& pair : pairs) {
    if (pair.work() < kLeastDividedWork) {
      small.push_back(&pair);
    } else {
      pair.match(parallel_for);
    }
  }
  const auto count = static_cast<int64_t>(small.size());
  if (count == 1) return small[0]->match(parallel_for);
  const ParallelFor alone = [](int64_t begin, int64_t end, int64_t, const RangeBody& body) {
    if (begin < end) body(begin, end);
  };
  std::atomic<int64_t> next{0};
  parallel_for(0, count, 1, [&](int64_t, int64_t) {
    for (int64_t i = next++; i < count; i = next++) small[i]->match(alone);
  });
}

}  // namespace

VariantChoice choose_match_variant(const MatchPatchesArgs& args, const std::string& wanted) {
  return choose_variant(kVariants, args, wanted);
}

void match_patches(const MatchPatchesArgs& args, const ParallelFor& parallel_for) {
  std::vector<int64_t> local;
  std::vector<Pair> pairs = list_pairs(args, local);
  match_all(pairs, parallel_for);
  // Exemplars ascend, so a tie stays with the earlier one. NaN stands for no score, and gives way to any.
  std::fill_n(args.index, args.queries, -1);
  for (const Pair& pair : pairs) {
    for (size_t i = 0; i < pair.index.size(); ++i) {
      const int64_t m = pair.first_query + static_cast<int64_t>(i);
      const float score = pair.score[i];
      const bool better = args.index[m] < 0 || (!std::isnan(score) && !(score <= args.score[m]));
      if (!better) continue;
      args.index[m] = pair.first_index + pair.index[i];
      args.score[m] = score;
    }
  }
}

}  // namespace neuralpatch::cpu
