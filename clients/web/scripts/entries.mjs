export const ENTRIES = ['src/index.ts', 'src/banner.ts', 'src/react.ts', 'src/texts.ts'];
