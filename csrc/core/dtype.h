// The 16-bit floating-point formats on the host, as bit operations, so that no compiler support is needed.
#pragma once

#include <cstdint>
#include <cstring>

namespace neuralpatch {

struct BFloat16 {
  uint16_t bits;
};

struct Float16 {
  uint16_t bits;
};

inline float float_of_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint32_t bits_of_float(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float to_float(float value) { return value; }

inline float to_float(BFloat16 value) { return float_of_bits(static_cast<uint32_t>(value.bits) << 16); }

inline float to_float(Float16 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fffu) << 13;
  const uint32_t exponent = magnitude & 0x0f800000u;
  // The exponent's bias goes from 15 to 127; infinities and NaNs need the largest exponent instead.
  const uint32_t normal = magnitude + (exponent == 0x0f800000u ? 224u << 23 : 112u << 23);
  // A subnormal is a multiple of 2^-24: put an implicit one in front of it, and take it away again.
  const uint32_t subnormal =
      bits_of_float(float_of_bits(magnitude + (113u << 23)) - float_of_bits(113u << 23));
  return float_of_bits(sign | (exponent == 0 ? subnormal : normal));
}

inline void from_float(float value, float& result) { result = value; }

// Rounds to nearest, ties to even.
inline void from_float(float value, BFloat16& result) {
  const uint32_t bits = bits_of_float(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  result.bits = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

// Rounds to nearest, ties to even.
inline void from_float(float value, Float16& result) {
  const uint32_t bits = bits_of_float(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  // Below 2^-14: adding 0.5 leaves the multiple of 2^-24 in the lowest bits, rounded by the addition itself.
  const uint32_t subnormal = bits_of_float(float_of_bits(magnitude) + 0.5f) - bits_of_float(0.5f);
  const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  const uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
  result.bits = static_cast<uint16_t>((bits >> 16 & 0x8000u) | (magnitude >= 0x47800000u ? special : finite));
}

}  // namespace neuralpatch
