// c = a b by one tensor-core product: a is [16, 16], b is [8, 16] (transposed), c is [16, 8].
#pragma once

void multiply_bfloat16(const void* a, const void* b, float* c);
void multiply_float16(const void* a, const void* b, float* c);
