/* Scores of additive attention and their gradients in one pass over the numbers: a quadruple of image, caption, region
 * and unit costs one reciprocal, and nothing of that size is ever written down. `native.py` compiles and calls this;
 * shapes are those of `attention.py`, row-major.
 *
 * keys:    image x region x unit      queries: image x caption x unit
 * found, gradient: image x caption x region
 */

/* found = -2 sum over units of v / (1 + key query) */
void scores(const float *restrict keys, const float *restrict queries, const float *restrict v, float *restrict found,
            long images, long captions, long regions, long units, int threads)
{
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (long image = 0; image < images; image++)
        for (long caption = 0; caption < captions; caption++) {
            const float *query = queries + (image * captions + caption) * units;
            for (long region = 0; region < regions; region++) {
                const float *key = keys + (image * regions + region) * units;
                float sum = 0;
#pragma omp simd reduction(+ : sum)
                for (long unit = 0; unit < units; unit++)
                    sum += v[unit] / (1 + key[unit] * query[unit]);
                found[(image * captions + caption) * regions + region] = -2 * sum;
            }
        }
}

/* Adds to key_gradient and to v_gradient, which is image x unit so that its sums do not depend on how many threads there
 * are; fills query_gradient. */
void gradients(const float *restrict keys, const float *restrict queries, const float *restrict gradient,
               float *restrict key_gradient, float *restrict v_gradient, float *restrict query_gradient,
               long images, long captions, long regions, long units, int threads)
{
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long image = 0; image < images; image++) {
        float *by_v = v_gradient + image * units;
        for (long at = image * captions * units; at < (image + 1) * captions * units; at++)
            query_gradient[at] = 0;
        for (long region = 0; region < regions; region++) {
            const float *key = keys + (image * regions + region) * units;
            float *by_key = key_gradient + (image * regions + region) * units;
            for (long caption = 0; caption < captions; caption++) {
                const float *query = queries + (image * captions + caption) * units;
                float *by_query = query_gradient + (image * captions + caption) * units;
                float own = gradient[(image * captions + caption) * regions + region];
#pragma omp simd
                for (long unit = 0; unit < units; unit++) {
                    float half = 1 / (1 + key[unit] * query[unit]);
                    float slope = own * (half - half * half); /* a quarter of tanh's derivative */
                    by_v[unit] -= 2 * own * half;
                    by_query[unit] += slope;
                    by_key[unit] += slope;
                }
            }
        }
    }
}
